"""The ``genaisys`` command; what it can do is in :mod:`genaisys.commands`, file by file.

Every verb works without options, has ``--json`` where a program may want to read its result, exits with 0 only on
success, and says what went wrong in one plain line.
"""

from __future__ import annotations

import errno
import io
import sys
from typing import Annotated, Any, NoReturn

import typer
import typer.core

from genaisys.commands.documents import documents
from genaisys.commands.language_models import language_models
from genaisys.commands.molecules import molecules
from genaisys.commands.parts import parts
from genaisys.commands.terminal import err, one_line
from genaisys.commands.zoo import zoo
from genaisys.errors import GenaisysError


class PlainErrors(typer.core.TyperGroup):
    """Turns failures into one plain line and a non-zero exit code."""

    def invoke(self, ctx: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")  # a terminal may not know all letters
        try:
            return super().invoke(ctx)
        except GenaisysError as error:
            _fail(str(error))
        except OSError as error:
            if error.errno == errno.EPIPE:  # whoever reads has seen enough
                raise
            _fail(f"the system refuses: {error}")
        except KeyboardInterrupt:
            err.print("\ngenaisys: stopped; everything finished so far is kept.", soft_wrap=True)
            raise typer.Exit(130) from None


def _fail(reason: str) -> NoReturn:
    err.print(f"genaisys: {one_line(reason)}", style="red", markup=False, soft_wrap=True)
    raise typer.Exit(1) from None


app = typer.Typer(
    name="genaisys",
    cls=PlainErrors,
    help="Ask your own documents, on your own machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for group in (documents, language_models, parts):
    app.add_typer(group)
app.add_typer(molecules, name="molecules")
app.add_typer(zoo, name="zoo")


@app.command(name="app")
def app_(
    collection: Annotated[str | None, typer.Option(help="Collection to open first.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = None,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
) -> None:
    """Open the app in the browser, on this machine only."""
    from genaisys.apps.app import launch

    launch(collection, port, browser)
