"""`python -m chaos`: one campaign, its report, and a verdict.

Exit codes: 0 the verdict is good, 1 it is not, 2 the campaign could not be run.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from chaos.report import Wanted, show, write
from chaos.run import campaign
from chaos.schedule import draw, told
from chaos.stage import CampaignError
from crowd.books import BooksError
from loadtest.run import LoadtestError
from rig.machine import Missing
from rig.process import Ended
from rig.stamp import stamp
from waitroom.errors import WaitroomError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a campaign; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m chaos", description="Run a campaign of faults, and judge it.")
    parser.add_argument("--seed", type=int, help="what the faults and the crowd are drawn from; default: a new one")
    parser.add_argument("--minutes", type=float, default=2.0, help="how long the crowd comes")
    parser.add_argument("--users", type=int, default=80, help="how many are there at a time")
    parser.add_argument("--engine", choices=("valkey", "redis"), default="valkey", help="the server of the queue")
    parser.add_argument("--only", nargs="+", default=(), metavar="KIND", help="draw these kinds of faults alone")
    parser.add_argument("--out", type=Path, help="put the campaign's folder in here; default: the system's temporary")
    options = parser.parse_args(arguments)
    seed = random.SystemRandom().randrange(1_000_000) if options.seed is None else options.seed
    how = {"engine": options.engine, "users": options.users, "only": options.only}
    wanted = Wanted(seed=seed, seconds=options.minutes * 60, **how)
    console = Console(width=None if sys.stdout.isatty() else 140)

    def say(line: str) -> None:
        console.print(line, highlight=False)

    try:
        say(f"seed {seed}; again: {wanted.replay}")
        say(told(draw(seed, wanted.seconds, wanted.only)))
        if options.out:
            options.out.mkdir(parents=True, exist_ok=True)
        beginning = "run-" if options.out else "waitroom-chaos-"
        folder = Path(tempfile.mkdtemp(prefix=beginning, dir=options.out and options.out.resolve()))
        found = asyncio.run(campaign(folder, wanted, say))
    except (CampaignError, LoadtestError, BooksError, Ended, Missing, TimeoutError, WaitroomError, ValueError) as error:
        sys.stderr.write(f"chaos: {error}\nchaos: seed {seed}\n")
        return 2
    except KeyboardInterrupt:
        return 2
    write(found, stamp(users=options.users), folder)
    say(f"histories, logs and reports: {folder}")
    show(found, console)
    return 0 if found.holds else 1


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):  # Ctrl-C too, which is ignored in what a shell starts with `&`
        signal.signal(number, signal.default_int_handler)  # what was started ends with it
    sys.exit(main())
