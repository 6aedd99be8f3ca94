"""`python -m benchmarks`, or `make bench`: every benchmark one after the other, and what came of it in a folder.

Each puts its report into reports.json as it ends; then come the plots and the page, README.md, with the budgets in
front. A benchmark that fails is named at the end, and the others run all the same.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Final

from benchmarks import budgets, folder
from benchmarks.report import say, show
from benchmarks.servers import ROOT
from rig.cores import OTHER_CORE, pinned
from rig.machine import Missing, program

BENCHMARKS: Final = (
    *("endpoints", "scripts", "memory", "flood", "streams", "million"),
    *("scheduler", "fairness", "outage", "webservers", "profile"),
)


def main() -> None:
    """Run what was asked for; exit code 1 if a benchmark failed."""
    options = _options()
    failed: list[str] = []
    if not options.budgets:
        try:
            program("wrk")
            pinned(OTHER_CORE)
        except Missing as error:
            sys.exit(str(error))
        failed = [name for name in BENCHMARKS if name in options.only and not _ran(name, options)]
    if options.loadtest is not None:
        folder.keep(options.folder, json.loads(options.loadtest.read_text(encoding="utf-8")))
    reports = folder.kept(options.folder)
    show("budgets", budgets.table(reports))
    if not options.budgets or options.loadtest is not None:
        print(folder.write_page(options.folder, reports))
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--folder", type=Path, help="where reports and plots go")
    parser.add_argument(
        "--only", nargs="+", choices=BENCHMARKS, default=BENCHMARKS, metavar="NAME", help=", ".join(BENCHMARKS)
    )
    parser.add_argument("--quick", action="store_true", help="under 20 s each, to see that they work")
    parser.add_argument("--loadtest", type=Path, metavar="REPORT", help="keep this report.json of a load test as well")
    parser.add_argument("--budgets", action="store_true", help="run nothing; show the last run's budgets")
    options = parser.parse_args()
    # Quick runs replace no figures.
    options.folder = options.folder or ROOT / "benchmarks" / ("results-quick" if options.quick else "results")
    return options


def _ran(name: str, options: argparse.Namespace) -> bool:
    """Run one in a process of its own, show and keep its report; whether it ended well."""
    say(f"{name} ...")
    command = [sys.executable, "-m", f"benchmarks.{name}", "--json", *(["--quick"] if options.quick else [])]
    # The flame graphs go there too.
    command += ["--folder", str(options.folder.absolute())] if name == "profile" else []
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    document = next((json.loads(line) for line in reversed(done.stdout.splitlines()) if line.startswith("{")), None)
    if document is not None:
        folder.keep(options.folder, document)
        show(**document)
    return document is not None and done.returncode == 0


if __name__ == "__main__":
    main()
