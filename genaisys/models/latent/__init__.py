"""Latent-variable models: probabilistic PCA, VAEs, hierarchies of them, and diffusion (book chapter 5)."""
