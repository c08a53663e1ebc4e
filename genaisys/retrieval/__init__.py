"""Documents in, passages and grounded answers out."""
