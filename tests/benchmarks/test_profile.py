"""Which part of the program a sample belongs to."""

from __future__ import annotations

import pytest

from benchmarks.profile import part_of, shares_by_part

SEND = "RequestResponseCycle.send (uvicorn/protocols/http/httptools_impl.py:524)"


@pytest.mark.parametrize(
    ("stack", "part"),
    [
        ([SEND], "uvicorn and httptools"),
        ([SEND, "write (libc.so.6)"], "kernel: writing"),
        ([SEND, "Py_DECREF (object.h:537)", "malloc (libc.so.6)"], "uvicorn and httptools"),
        (["Room.enter (waitroom/rooms/room.py:80)", "gc_collect_main (libpython3.11.so.1.0)"], "garbage collection"),
        (["TicketOffice.issue (waitroom/proofs/tickets.py:50)", "digest (hmac.py:198)"], "tickets and passes"),
        (["run (waitroom/rooms/batching.py:81)", "send (redis/asyncio/connection.py:1)"], "redis-py"),
        (["_tell (waitroom/web/visitors.py:101)"], "documents and headers"),
        (["<module> (elsewhere.py:1)"], "other"),
    ],
)
def test_a_sample_belongs_to_the_innermost_part(stack: list[str], part: str) -> None:
    assert part_of(stack) == part


def test_shares_add_up_and_the_largest_comes_first() -> None:
    raw = f"main (a.py:1);{SEND} 3\nmain (a.py:1);{SEND};write (libc.so.6) 1\n"
    assert shares_by_part(raw) == [("uvicorn and httptools", 0.75), ("kernel: writing", 0.25)]
