"""`waitroom invite`: an enqueue token by hand."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from waitroom.cli.printing import print_json, warn
from waitroom.cli.target import Config, Name, Target
from waitroom.errors import SettingsError
from waitroom.proofs import tokens


def invite(
    name: Name,
    customer: Annotated[str, typer.Argument(help="the customer that gets the place. One customer has one place")],
    seconds: Annotated[float, typer.Option(min=1, max=604_800, help="how long the token is good for")] = 3600,
    priority: Annotated[
        bool, typer.Option("--priority", help="a place in front of all visitors without priority")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print address and token as JSON")] = False,
    config: Config = None,
) -> None:
    """Make an enqueue token by hand, and print it as an address of the waiting page."""
    settings = Target(config).settings
    ring = settings.enqueue_ring()
    if ring is None:
        raise SettingsError(
            "enqueue_keys: missing. The first of them signs the token: set WAITROOM_ENQUEUE_KEYS as the servers have it"
        )
    token = tokens.issue(ring, name, customer, expires=time.time() + seconds, priority=priority)
    address = f"{settings.public_url}/wait/{name}?enqueue={token}"
    if not settings.public_url:
        warn("public_url: not set, so this address has no host. Put that of your site in front of it")
    if as_json:
        print_json({"room": name, "customer": customer, "token": token, "url": address})
    else:
        typer.echo(address)
