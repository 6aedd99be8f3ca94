"""What the demo shows while it runs: a live table in a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from waitroom.demo.crowd import Tally

#: Seconds between two plain lines.
LINE_SECONDS: Final = 2.0


def facts(document: Mapping[str, Any] | None, tally: Tally) -> dict[str, str]:
    """The room's public document (None if it could not be had) and the crowd's tally, as texts by label."""
    return _room_facts(document) | {
        "visits done": str(tally.visits),
        "crowd errors": f"{tally.errors} ({tally.last_error})" if tally.errors else "0",
    }


def _room_facts(document: Mapping[str, Any] | None) -> dict[str, str]:
    if document is None:
        return {"room": "does not answer"}
    eta = document["eta_seconds"]
    return {
        "waiting": str(document["waiting"]),
        "inside": f"{document['occupancy']}/{document['capacity'] or 'unlimited'}",
        "admitted per second": f"{document['admitted_per_second'] or 0:.1f}",
        "eta at the tail": "unknown" if eta is None else f"{eta:.0f} s",
    }


class Board:
    """Shows `facts`. As a context manager it gives the terminal back on the way out."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._next_line = 0.0

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, shown: Mapping[str, str]) -> None:
        """Bring the table up to date, or print a line if the last one is LINE_SECONDS old."""
        if self._live is not None:
            self._live.update(_table(shown), refresh=True)
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_SECONDS
            say(self._console, "  ".join(f"{label}: {value}" for label, value in shown.items()))


def say(console: Console, text: str) -> None:
    """Print one line as it stands, at once, also into a pipe."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    console.file.flush()


def _table(shown: Mapping[str, str]) -> Table:
    table = Table(show_header=False, min_width=40)
    for label, value in shown.items():
        table.add_row(Text(label), Text(value))
    return table
