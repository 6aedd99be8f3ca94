"""Books that do not balance, or that tell another story than the visitors, are found."""

from __future__ import annotations

from dataclasses import replace

import pytest

from crowd.books import Books, BooksError, conserved, reconciled
from crowd.history import Operation
from crowd.rules import Rules
from rig.ports import free_port
from tests.crowd.made import asked, good, told

NOBODY = dict.fromkeys(("entered", "restored", "admitted", "claimed", "left", "finished", "no_show", "abandoned"), 0)
EMPTY = Books(0, 0, NOBODY, {})


def books(waiting: int = 0, occupancy: int = 0, **counts: int) -> Books:
    """Books with these counts."""
    return Books(waiting, occupancy, NOBODY | counts, {})


def faults(after: Books, *more: Operation) -> list[str]:
    """What is wrong with the books after the good history and more."""
    return reconciled(told(*good(), *more), after, EMPTY).faults


def test_books_balance() -> None:
    """Everybody who came waits, is inside, or went out."""
    assert conserved(books(2, 1, entered=7, restored=1, left=1, finished=1, no_show=1, abandoned=2)).holds
    assert not conserved(books(2, 1, entered=7, restored=1, left=1, finished=1, no_show=1, abandoned=1)).holds
    assert not conserved(books(3, 1, entered=7, restored=1, left=1, finished=1, no_show=1, abandoned=2)).holds


def test_books_agree_with_the_visitors() -> None:
    """Two came, two had a session, two said goodbye: no more and no less."""
    right = books(entered=2, admitted=2, claimed=2, left=2)
    assert faults(right) == []
    for name in ("entered", "claimed"):
        for number in (1, 3):
            assert len(faults(replace(right, counts={**right.counts, name: number}))) == 1
    assert len(faults(replace(right, counts={**right.counts, "left": 3}))) == 1
    assert len(faults(replace(right, counts={**right.counts, "admitted": 1}))) == 1


def test_a_request_without_an_answer_may_have_counted() -> None:
    """Or not."""
    lost = asked("c", "enter", 7, outcome="unknown", completed=None, status=0)
    assert faults(books(1, entered=3, admitted=2, claimed=2, left=2), lost) == []
    assert faults(books(0, entered=2, admitted=2, claimed=2, left=2), lost) == []
    assert len(faults(books(2, entered=4, admitted=2, claimed=2, left=2), lost)) == 1


def test_the_settings_are_the_rules() -> None:
    """What bounds visitors is taken from the room itself."""
    settings: dict[str, object] = {"capacity": 7, "admit_per_second": 2.5, "session_seconds": 9.0, "claim_seconds": 3.0}
    settings |= {"abandon_seconds": 4.0, "sliding": True, "message": "hello"}
    rules = Rules.of(settings)
    assert rules == Rules(
        capacity=7, admit_per_second=2.5, session_seconds=9, claim_seconds=3, abandon_seconds=4, sliding=True
    )


def test_books_that_nobody_has() -> None:
    """The error says where they were looked for."""
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(BooksError, match=f"{url}/admin/rooms/shop"):
        Books.read(url, "shop", "key")
