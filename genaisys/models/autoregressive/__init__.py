"""Autoregressive models: one dimension after the other, each given those before it (book chapter 3)."""
