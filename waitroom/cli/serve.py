"""`waitroom serve`: an instance."""

from __future__ import annotations

from typing import Annotated

import typer

from waitroom.cli.target import Target, on_target


@on_target
def serve(
    host: Annotated[str | None, typer.Option(help="address to listen on")] = None,
    port: Annotated[int | None, typer.Option(help="port to listen on, 0 = any free one")] = None,
    workers: Annotated[int | None, typer.Option(help="server processes")] = None,
    *,
    target: Target,
) -> None:
    """Run an instance: HTTP, gate and scheduler."""
    # Imported here: the other commands need no web server.
    from waitroom.serve.run import run

    settings = target.load(host=host, port=port, workers=workers)
    run(settings, room_to_try=target.config is None)
