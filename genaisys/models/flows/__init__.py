"""Flows: invertible maps from data to a simple distribution (book chapter 4)."""
