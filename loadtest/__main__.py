"""`python -m loadtest SCENARIO`: start what it needs, let the crowd come, print the report, stop all.

Exit codes: 0 the verdict is good, 1 it is not, 2 the scenario could not be run.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from rich.console import Console

from crowd.books import Books, BooksError
from loadtest.outcome import Outcome
from loadtest.report import show, write
from loadtest.run import LoadtestError, run
from loadtest.scenarios import SCENARIOS, Scenario
from loadtest.stage import Stage, staged
from rig.machine import Missing
from rig.process import Ended
from rig.stamp import stamp
from waitroom.errors import WaitroomError

#: The environment variable with the admin key of the deployment that `--host` names.
_KEY_VARIABLE: Final = "WAITROOM_ADMIN_KEY"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a scenario; returns the exit code."""
    options = _parser().parse_args(arguments)
    scenario = chosen(options)
    try:
        with _folder(options.out) as folder:
            outcomes = _run_all(scenario, folder, options)
            told = stamp(**_told(scenario))
            write(outcomes, told, folder)
            show(outcomes, told, Console(width=None if sys.stdout.isatty() else 120))
    except (LoadtestError, BooksError, Ended, Missing, WaitroomError) as error:
        sys.stderr.write(f"loadtest: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 2
    return 0 if all(outcome.holds for outcome in outcomes) else 1


def chosen(options: argparse.Namespace) -> Scenario:
    """The scenario with what the command line changes about it."""
    names = ("rate", "seconds", "users", "processes", "prefilled")
    changes = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if options.instances:
        changes["instances"] = tuple(options.instances)
    if options.nginx is not None:
        changes["through_nginx"] = options.nginx
    changed = ", ".join(f"{name} {value}" for name, value in changes.items())
    return replace(SCENARIOS[options.scenario], **changes, changed=changed)


def _run_all(scenario: Scenario, folder: Path, options: argparse.Namespace) -> list[Outcome]:
    if options.host:
        return [_run(scenario, _elsewhere(options), folder, instances=0)]
    outcomes = []
    for number in scenario.instances:
        own = folder / f"{number}-instances"
        own.mkdir()
        with staged(
            own,
            room=options.room,
            settings=scenario.settings,
            instances=number,
            through_nginx=scenario.through_nginx,
            prefilled=scenario.prefilled,
        ) as stage:
            outcomes.append(_run(scenario, stage, own, instances=number))
    return outcomes


def _run(scenario: Scenario, stage: Stage, folder: Path, *, instances: int) -> Outcome:
    return asyncio.run(run(scenario, stage, folder, instances=instances))


def _elsewhere(options: argparse.Namespace) -> Stage:
    """A deployment of one's own. The room must be there; its settings are asked for where the key is given."""
    if not options.mine:
        raise LoadtestError("--host sends a crowd: add --i-own-this-host if the host is yours to load")
    url = options.host.rstrip("/")
    key = os.environ.get(_KEY_VARIABLE, "")
    admin = options.admin_url.rstrip("/")
    if bool(admin) != bool(key):
        raise LoadtestError(f"--admin-url and {_KEY_VARIABLE} belong together: give both, or neither")
    if admin:
        Books.read(admin, options.room, key)
    return Stage(url, options.room, options.gate or "/", admin, key)


def _told(scenario: Scenario) -> dict[str, object]:
    names = ("users", "seconds", "rate", "prefilled")
    return {name: getattr(scenario, name) for name in names} | {"generators": scenario.processes}


@contextlib.contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    """The folder of the histories and the report: a new one inside the given one, or one that goes afterwards."""
    if given is None:
        with tempfile.TemporaryDirectory(prefix="waitroom-loadtest-", ignore_cleanup_errors=True) as name:
            yield Path(name)
        return
    given.mkdir(parents=True, exist_ok=True)
    yield Path(tempfile.mkdtemp(prefix="run-", dir=given.resolve()))


def _parser() -> argparse.ArgumentParser:
    about = "\n".join(f"  {name:10} {scenario.about}" for name, scenario in SCENARIOS.items())
    parser = argparse.ArgumentParser(
        prog="python -m loadtest",
        description=f"Run a scenario and judge it.\n\n{about}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenario", choices=SCENARIOS, metavar="SCENARIO")
    parser.add_argument("--seconds", type=float, help="how long the crowd comes")
    parser.add_argument("--users", type=int, help="how many come at a time")
    parser.add_argument("--rate", type=float, help="arrivals per second, where the scenario has a schedule")
    parser.add_argument("--prefilled", type=int, help="how many wait before the first one comes")
    parser.add_argument("--processes", type=int, help="processes of the load generator")
    parser.add_argument("--instances", type=int, nargs="+", help="instances, a run for each number")
    parser.add_argument("--nginx", action=argparse.BooleanOptionalAction, help="through nginx, or not")
    parser.add_argument("--out", type=Path, help="keep histories, logs and reports in a new folder in here")
    parser.add_argument("--room", default="shop", help="the room's name")
    parser.add_argument("--host", default="", metavar="URL", help="a deployment of your own instead of servers here")
    parser.add_argument("--i-own-this-host", dest="mine", action="store_true", help="say that --host may be loaded")
    parser.add_argument("--gate", default="", metavar="PATH", help="with --host: a path that the room protects")
    parser.add_argument("--admin-url", default="", help=f"with --host: where /admin answers; key in {_KEY_VARIABLE}")
    return parser


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):  # Ctrl-C too, which is ignored in what a shell starts with `&`
        signal.signal(number, signal.default_int_handler)  # what was started ends with it
    sys.exit(main())
