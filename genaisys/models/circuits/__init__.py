"""Probabilistic circuits (book section 2.4)."""
