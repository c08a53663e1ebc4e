"""Networks that know nothing of probability: models take them as arguments."""
