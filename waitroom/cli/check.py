"""`waitroom check` and `waitroom check-gate`: what is not as it should be."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from waitroom.checks import gate, redis
from waitroom.checks.finding import unfit
from waitroom.cli.printing import print_attempts, print_findings
from waitroom.cli.target import Target, on_target


@on_target
def check(*, target: Target) -> None:
    """Is this Redis fit to hold a queue? Each finding with its remedy; exit code 1 if not."""
    findings = asyncio.run(redis.examine(target.url))
    print_findings(findings)
    raise typer.Exit(1 if unfit(findings) else 0)


def check_gate(
    urls: Annotated[list[str], typer.Argument(help="addresses that must not be reached without a pass")],
    safe: Annotated[bool, typer.Option("--safe", help="do not send the empty POST to each")] = False,
) -> None:
    """Do these addresses need a pass? Asked for in many ways without one.

    Exit code 1 if any request got past the gate, 3 if none did and some were not answered at all.
    """
    attempts = list(gate.examine(urls, safe=safe))
    print_attempts(attempts)
    verdicts = {attempt.verdict for attempt in attempts}
    raise typer.Exit(1 if "open" in verdicts else 3 if "silent" in verdicts else 0)
