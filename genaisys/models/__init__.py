"""The generative models."""
