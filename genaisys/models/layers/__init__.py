"""Networks that models take as arguments. They know nothing of probability."""
