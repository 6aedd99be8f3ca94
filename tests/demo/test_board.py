"""What the demo shows."""

from __future__ import annotations

import io

from rich.console import Console

from waitroom.demo.board import Board, facts
from waitroom.demo.crowd import Tally

DOCUMENT = {"waiting": 12, "occupancy": 5, "capacity": 50, "admitted_per_second": 2.345, "eta_seconds": 61.7}


def test_facts_of_a_room() -> None:
    assert facts(DOCUMENT, Tally(visits=3)) == {
        "waiting": "12",
        "inside": "5/50",
        "admitted per second": "2.3",
        "eta at the tail": "62 s",
        "visits done": "3",
        "crowd errors": "0",
    }


def test_what_is_not_known_is_not_made_up() -> None:
    shown = facts(DOCUMENT | {"eta_seconds": None, "admitted_per_second": None, "capacity": 0}, Tally())
    assert shown["eta at the tail"] == "unknown"
    assert shown["inside"] == "5/unlimited"
    assert facts(None, Tally())["room"] == "does not answer"


def test_an_error_of_the_crowd_is_told_with_its_text() -> None:
    tally = Tally()
    tally.failed(ValueError("what [it] was"))
    assert facts(None, tally)["crowd errors"] == "1 (ValueError: what [it] was)"


def test_without_a_terminal_it_prints_a_plain_line_now_and_then() -> None:
    output = io.StringIO()
    with Board(Console(file=output, width=20)) as board:
        board.show({"waiting": "1", "note": "a [bold] thing"})
        board.show({"waiting": "2"})
    assert output.getvalue() == "waiting: 1  note: a [bold] thing\n"


def test_in_a_terminal_it_shows_a_table() -> None:
    output = io.StringIO()
    with Board(Console(file=output, force_terminal=True, width=60)) as board:
        board.show({"waiting": "1"})
        board.show({"waiting": "2", "note": "a [bold] thing"})
    assert "waiting" in output.getvalue()
    assert "a [bold] thing" in output.getvalue()
