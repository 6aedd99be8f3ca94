"""The `waitroom` command.

Exit codes: 0 done, 1 something failed (one sentence on stderr), 2 the settings or arguments are wrong.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated, NoReturn

import typer

from waitroom import __version__
from waitroom.cli import check, demo, doctor, invite, printing, room, serve
from waitroom.errors import SettingsError, WaitroomError

app = typer.Typer(help="A self-hosted virtual waiting room.", no_args_is_help=True, add_completion=False)
app.command()(serve.serve)
app.command()(demo.demo)
app.command()(check.check)
app.command()(invite.invite)
app.command()(doctor.doctor)
app.add_typer(room.app, name="room")


def main() -> None:
    """Run the command line. An expected failure is one sentence, not a traceback."""
    for stream in (sys.stdout, sys.stderr):
        # What the locale has no character for is shown as its number, and no traceback.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except SettingsError as error:
        _fail(error, code=2)
    except WaitroomError as error:
        _fail(error, code=1)
    finally:
        _flush()


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="print the version and stop")] = False) -> None:
    """A self-hosted virtual waiting room."""
    if show:
        typer.echo(f"waitroom {__version__}")
        raise typer.Exit


def _flush() -> None:
    """Write what is left. A reader that has seen enough, as `head` has, is no fault to speak of."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None


def _fail(error: WaitroomError, *, code: int) -> NoReturn:
    printing.warn(str(error))
    raise SystemExit(code)
