"""The model zoo: every generative model of the toolkit, trained, measured and shown on the same data."""
