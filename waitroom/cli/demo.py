"""`waitroom demo`: all of it on one machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    port: Annotated[int, typer.Option(help="port of the demo site")] = 8080,
    visitors: Annotated[int, typer.Option(min=0, help="size of the simulated crowd")] = 300,
    capacity: Annotated[int, typer.Option(min=1, help="visitors that the shop takes at once")] = 50,
    data_dir: Annotated[Path | None, typer.Option(help="folder for data and logs, by default a temporary one")] = None,
    seconds: Annotated[float | None, typer.Option(min=1, help="stop after so many seconds")] = None,
) -> None:
    """Run the demo: two instances, nginx, a shop, and a crowd of visitors."""
    # Imported here: the demo needs packages that a server does not.
    from waitroom.demo.run import run

    raise typer.Exit(run(port=port, visitors=visitors, capacity=capacity, data_dir=data_dir, seconds=seconds))
