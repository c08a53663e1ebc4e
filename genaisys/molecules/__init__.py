"""Molecules as SMILES: data, properties, the MOSES benchmark, and generating new ones."""
