"""What is recorded is what is read; a request whose end is missing is unknown."""

from __future__ import annotations

from pathlib import Path

import pytest

from crowd.history import History, Operation, Recorder, clock


def test_what_was_recorded_is_read(tmp_path: Path) -> None:
    """Two processes, in the order of sending; a request that was never answered is unknown."""
    first, second = Recorder(tmp_path / "history-0.jsonl"), Recorder(tmp_path / "history-1.jsonl")
    lost = first.invoke(2.0, visitor="0-0.1", habit="patient", call="status")
    number = second.invoke(1.0, visitor="1-0.1", habit="arrival", call="enter", due=0.9)
    second.complete(number, "ok", 1.5, {"status": 202, "state": "waiting", "rank": 3, "serial": 17, "identity": "x"})
    second.note(about="generator", cpu=0.5)
    assert lost == number == 1
    first.close()
    second.close()
    history = History.read(tmp_path)
    told = {"status": 202, "state": "waiting", "rank": 3, "serial": 17, "identity": "x"}
    came = {"visitor": "1-0.1", "habit": "arrival", "call": "enter", "invoked": 1.0, "due": 0.9}
    assert history.operations == [
        Operation(**came, completed=1.5, outcome="ok", **told),  # type: ignore[arg-type]  # as they are spelt
        Operation(visitor="0-0.1", habit="patient", call="status", invoked=2.0, outcome="unknown"),
    ]
    assert history.notes == [{"about": "generator", "cpu": 0.5}]
    assert history.operations[0].took_ms == 500
    assert history.operations[0].from_due_ms == pytest.approx(600)


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    """Its process was killed while it wrote; a broken line within a file is a fault."""
    path = tmp_path / "history-0.jsonl"
    recorder = Recorder(path)
    recorder.invoke(1.0, visitor="0-0.1", habit="patient", call="enter")
    recorder.close()
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:20])
    assert len(History.read(tmp_path).operations) == 1
    path.write_bytes(whole[:20] + b"\n" + whole)
    with pytest.raises(ValueError, match=r"history-0\.jsonl, line 1"):
        History.read(tmp_path)


def test_the_clock_never_goes_back() -> None:
    """Wall time, to begin with."""
    times = [clock() for _ in range(1000)]
    assert times == sorted(times)
    assert times[0] > 1_700_000_000
