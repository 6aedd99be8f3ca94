"""`waitroom check`: what is not as it should be with a Redis."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated

import typer

from waitroom.checks import redis
from waitroom.checks.finding import unfit
from waitroom.cli.printing import print_findings, print_json
from waitroom.cli.target import Target, on_target


@on_target
def check(
    as_json: Annotated[bool, typer.Option("--json", help="print the findings as JSON")] = False, *, target: Target
) -> None:
    """Is this Redis fit to hold a queue? Each finding with its remedy; exit code 1 if not."""
    findings = asyncio.run(redis.examine(target.url))
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        print_findings(findings)
    raise typer.Exit(1 if unfit(findings) else 0)
