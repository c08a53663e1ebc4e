"""``python -m genaisys`` is the ``genaisys`` command."""

from genaisys.cli import app

app(prog_name="genaisys")
