"""The verbs of the ``genaisys`` command: a file for each group of them."""
