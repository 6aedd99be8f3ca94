"""`waitroom invite`: an enqueue token by hand."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from waitroom.cli.target import Config, Name, Target
from waitroom.errors import SettingsError
from waitroom.proofs import tokens


def invite(
    name: Name,
    customer: Annotated[str, typer.Argument(help="whoever the place is for; the same one has the same place")],
    seconds: Annotated[float, typer.Option(min=1, max=604_800, help="how long it is good for")] = 3600,
    priority: Annotated[bool, typer.Option("--priority", help="in front of all who have none")] = False,
    config: Config = None,
) -> None:
    """Make an enqueue token by hand, as the address of the waiting page."""
    settings = Target(config).settings
    ring = settings.enqueue_ring()
    if ring is None:
        raise SettingsError("enqueue_keys: missing; a token is signed with the first of them")
    token = tokens.issue(ring, name, customer, expires=time.time() + seconds, priority=priority)
    typer.echo(f"{settings.public_url}/wait/{name}?enqueue={token}")
