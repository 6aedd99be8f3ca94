"""The doctor's question: only the admin key makes one, and it is good for one room and a moment."""

from __future__ import annotations

import pytest

from waitroom.proofs.question import SECONDS, ask, new_nonce, nonce_of

KEY = "an-admin-key-made-up-for-the-tests-0123456789"
NOW = 1_800_000_000.0


def test_a_question_is_known() -> None:
    """Its nonce comes back, as long as it is good."""
    nonce = new_nonce()
    asked = ask(KEY, "shop", nonce, now=NOW)
    for passed in (0, SECONDS, -SECONDS):
        assert nonce_of(KEY, "shop", asked, now=NOW + passed) == nonce


def test_what_is_no_question() -> None:
    """Another key, another room, another time, a changed sign, another form: nothing is answered."""
    asked = ask(KEY, "shop", new_nonce(), now=NOW)
    time, nonce, mac = asked.split(".")
    assert nonce_of(KEY + "x", "shop", asked, now=NOW) is None
    assert nonce_of(KEY, "other", asked, now=NOW) is None
    assert nonce_of(KEY, "shop", asked, now=NOW + SECONDS + 1) is None
    assert nonce_of(KEY, "shop", asked, now=NOW - SECONDS - 1) is None
    for forged in (
        f"{int(time) + 1}.{nonce}.{mac}",
        f"{time}.{new_nonce()}.{mac}",
        f"{time}.{nonce}.{mac[::-1]}",
        asked + "\n",
        " " + asked,
        "",
        "..",
        KEY,
        "٣" * 10 + asked[10:],
    ):
        assert nonce_of(KEY, "shop", forged, now=NOW) is None, forged


@pytest.mark.parametrize("key", ["", KEY])
def test_without_a_key_nothing_is_answered(key: str) -> None:
    """An instance without an admin key answers no question, not even one that is signed with nothing."""
    assert nonce_of("", "shop", ask(key, "shop", new_nonce(), now=NOW), now=NOW) is None


def test_the_key_does_not_show() -> None:
    """A question holds nothing of the key."""
    assert KEY not in ask(KEY, "shop", new_nonce(), now=NOW)
