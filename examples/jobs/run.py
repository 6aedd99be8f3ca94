"""`make jobs`: the whole service on loopback, until Ctrl-C."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from examples.jobs.stage import WORKERS, end_by_signals, running
from rig.process import Ended
from waitroom.demo.processes import require_port
from waitroom.errors import WaitroomError

_GREETING = """\
The job service: {url}/   (Ctrl-C stops it)

Open that address: its page orders pictures and shows the numbers. Or from another terminal:

  jobs={url}/jobs json="Content-Type: application/json"
  # order a picture: 202, and where the job is
  curl -i $jobs -H "$json" -d '{{"seed": 7}}'
  # the same again: the same job, or its kept result
  curl -i $jobs -H "$json" -d '{{"seed": 7}}'
  # rank and eta, then progress, then how it ended
  curl $jobs/JOB
  curl $jobs/JOB/picture -o picture.png
  curl $jobs -H "$json" -d '{{"seed": 8, "express": true}}'
  # this one fails twice, and is tried again
  curl $jobs -H "$json" -d '{{"seed": 9, "failures": 2}}'
  # many at once, and a table
  make jobs-report

Its two rooms: {waitroom_url}/v1/rooms/jobs and {waitroom_url}/v1/rooms/jobs-express"""


def main() -> None:
    """Run until a signal asks to stop or a process ends by itself."""
    parser = argparse.ArgumentParser(prog="jobs", description=__doc__)
    parser.add_argument("--port", type=int, default=8090, help="loopback port of the HTTP side")
    parser.add_argument("--workers", type=int, default=WORKERS, help="worker processes")
    options = parser.parse_args()
    end_by_signals()
    try:
        with suppress(KeyboardInterrupt), tempfile.TemporaryDirectory(prefix="waitroom-jobs-") as folder:
            _serve(Path(folder), port=options.port, workers=options.workers)
    except (WaitroomError, Ended) as error:
        sys.exit(str(error))


def _serve(folder: Path, *, port: int, workers: int) -> NoReturn:
    require_port(port)
    with running(folder, port=port, workers=workers) as service:
        greeting = _GREETING.format(url=service.url, waitroom_url=service.waitroom_url)
        Console().print(greeting, markup=False, highlight=False, soft_wrap=True)
        sys.stdout.flush()
        while True:
            service.check()
            time.sleep(0.2)


if __name__ == "__main__":
    main()
