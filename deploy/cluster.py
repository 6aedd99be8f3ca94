"""The topology of compose.yaml as plain processes on one Linux machine, scaled by typing numbers.

`make cluster INSTANCES=4` runs it. The processes are in rig/composed.py.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from rig.composed import Composed, OutOfRange
from rig.machine import Missing
from rig.process import Ended
from waitroom.demo.processes import require_port
from waitroom.errors import WaitroomError


def main(
    instances: Annotated[int, typer.Option(help="instances at the start")] = 2,
    port: Annotated[int, typer.Option(help="port of the site")] = 8080,
    data_dir: Annotated[Path | None, typer.Option(help="folder for data and logs, by default a temporary one")] = None,
) -> None:
    """Run the topology of compose.yaml as plain processes until Ctrl-C. Scale it by typing numbers."""
    try:
        require_port(port)
        with _folder(data_dir) as folder, _until_told():
            _run(Composed(folder, instances=instances, port=port, say=_say))
    except (WaitroomError, OutOfRange, Missing, Ended) as error:
        sys.stderr.write(f"cluster: {error}\n")
        raise typer.Exit(1) from None


def _run(cluster: Composed) -> None:
    _say("starting redis, the shop, the instances and nginx ...")
    with cluster:
        _say(f"the shop: {cluster.url}/   logs: {cluster.logs}")
        _say("type a number and Enter to run so many instances, r to restart one after another, Ctrl-C to stop")
        lines = _Lines()
        while True:
            cluster.look()
            for line in lines.within(seconds=0.5):
                _obey(cluster, line)


def _obey(cluster: Composed, line: str) -> None:
    """Do what was typed. A wrong line is reported, and all goes on."""
    if line == "r":
        cluster.restart()
    elif line.isdecimal():
        try:
            cluster.scale(int(line))
        except (OutOfRange, Ended) as error:
            _say(str(error))
    elif line:
        _say(f"{line!r} is neither a number nor r")
        return
    _say(f"{len(cluster.instances)} running")


class _Lines:
    """What is typed, line by line, without ever waiting for it longer than asked."""

    def __init__(self) -> None:
        self._text = ""
        self._open = True

    def within(self, *, seconds: float) -> list[str]:
        """The lines completed within so many seconds. A closed input has none."""
        if not self._open:
            time.sleep(seconds)
            return []
        if not select.select([sys.stdin], [], [], seconds)[0]:
            return []
        read = os.read(sys.stdin.fileno(), 4096)
        self._open = bool(read)
        *lines, self._text = (self._text + read.decode(errors="replace")).split("\n")
        return [line.strip() for line in lines]


def _say(sentence: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {sentence}", flush=True)


@contextlib.contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    if given is not None:
        yield given.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="waitroom-cluster-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@contextlib.contextmanager
def _until_told() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP end the block in order. A second signal does not disturb that."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def end(_number: int, _frame: object) -> NoReturn:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        _say("stopping ...")
        raise _Over

    for number in numbers:
        signal.signal(number, end)
    with contextlib.suppress(_Over):
        yield


class _Over(BaseException):
    """The operator or the system ends the process."""


if __name__ == "__main__":
    typer.run(main)
