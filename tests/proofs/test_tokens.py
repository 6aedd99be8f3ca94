"""Enqueue tokens: what the site signs is taken, and nothing else is."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from waitroom.model import VISITOR_ID
from waitroom.proofs import keyring
from waitroom.proofs.keyring import LEEWAY_SECONDS, Keyring
from waitroom.proofs.tokens import LONGEST_SUBJECT, EnqueueOffice, Grant, TokenRefused, customer

SECRET = b"Zq3-pB7xT0vKd9sLw2RfYh6mNc4JgU8a"
OLDER = b"9aKfP2-mXr7LtVq0WcZs5BnHy3EjGd6u"
OFFICE = EnqueueOffice(Keyring("shop", {"shop": SECRET, "older": OLDER}))
NOW = 1_800_000_000.0
CLAIMS: dict[str, Any] = {"aud": "waitroom:sale:enqueue", "sub": "customer-17", "exp": NOW + 60}


def token(secret: bytes = SECRET, *, headers: dict[str, Any] | None = None, **claims: Any) -> str:
    """A token with these claims; those that are None are left out."""
    given = {name: value for name, value in (CLAIMS | claims).items() if value is not None}
    return jwt.encode(given, secret, "HS256", headers=headers)


def verified(text: str, *, room: str = "sale") -> Any:
    """What it grants, or None."""
    try:
        return OFFICE.verify(room, text, now=NOW)
    except TokenRefused:
        return None


def test_a_token_names_a_customer() -> None:
    """One customer is one visitor, by whichever key and however many tokens."""
    one = verified(token())
    assert VISITOR_ID.match(one.visitor)
    assert not one.priority
    assert verified(token(OLDER, exp=NOW + 5, iat=NOW - 9, more="x")) == one
    assert verified(token(sub="customer-18")).visitor != one.visitor


def test_a_customer_is_another_visitor_in_each_room() -> None:
    """So that no room's marks say anything in another."""
    assert len({customer(room, subject) for room in ("sale", "shop") for subject in ("1", "2")}) == 4


@pytest.mark.parametrize("kid", [None, "shop"])
def test_the_key_may_be_named(kid: str | None) -> None:
    """With its id, or without any: then each key is tried."""
    assert verified(token(headers={"kid": kid} if kid else None)) is not None


@pytest.mark.parametrize("kid", ["older", "nobody", "", "../../etc/passwd", "k" * 10_000])
def test_a_key_that_did_not_sign_it(kid: str) -> None:
    """The key that is named decides."""
    assert verified(token(headers={"kid": kid})) is None


@pytest.mark.parametrize(
    "claims",
    [
        {"priority": True},
        {"iat": NOW + LEEWAY_SECONDS},
        {"nbf": NOW},
        {"exp": NOW - LEEWAY_SECONDS + 0.1},
        {"sub": "x" * LONGEST_SUBJECT},
        {"sub": "Ж 名"},
    ],
)
def test_what_is_allowed(claims: dict[str, Any]) -> None:
    """Leeway, long and foreign customers, the lane in front."""
    granted = verified(token(**claims))
    assert granted is not None
    assert granted.priority == claims.get("priority", False)


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": None},
        {"exp": NOW - LEEWAY_SECONDS},
        {"exp": "soon"},
        {"exp": True},
        {"exp": -1},
        {"exp": 2**64},
        {"exp": 1e300},
        {"iat": NOW + LEEWAY_SECONDS + 1},
        {"iat": "now"},
        {"nbf": NOW + LEEWAY_SECONDS + 1},
        {"sub": None},
        {"sub": ""},
        {"sub": 17},
        {"sub": "x" * (LONGEST_SUBJECT + 1)},
        {"sub": "\ud800"},
        {"aud": None},
        {"aud": "waitroom:sale"},
        {"aud": "waitroom:shop:enqueue"},
        {"priority": 1},
        {"priority": "yes"},
    ],
)
def test_claims_that_are_not_taken(claims: dict[str, Any]) -> None:
    """Missing, late, early, of the wrong kind, or for somebody else."""
    assert verified(token(**claims)) is None


@pytest.mark.parametrize(
    "text",
    [
        *("", ".", "..", "a.b.c", "a.b.c.d", "Ж", " ", "null"),
        jwt.encode(CLAIMS, "", algorithm="none"),
        jwt.encode(CLAIMS, SECRET * 2, "HS512"),
        token(b"another-secret-of-the-right-length!!"),
        token()[:-1],
        token() + "A",
        token() + "." + token(),
        token(pad="x" * 3000),
    ],
)
def test_what_is_no_token(text: str) -> None:
    """Other algorithms, other keys, cut off, too long."""
    assert verified(text) is None


def test_every_bit_counts() -> None:
    """Any character changed in the payload or the signature, and it proves nothing."""
    text = token()
    start = text.index(".") + 1
    for at in range(start, len(text) - 1):
        if text[at] != ".":
            changed = text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]
            assert verified(changed) is None, at


def test_the_documents_example_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The site of docs/how-to/limits.md signs a token that is good for the customer it names."""
    text = (Path(__file__).parents[2] / "docs" / "how-to" / "limits.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python title=\"try/shop.py\"\n(.+?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Path("try").mkdir()
    Path("try/enqueue-secret").write_text(f"{SECRET.decode()}\n", encoding="utf-8")
    site: dict[str, Any] = {}
    exec(code, site)  # noqa: S102 - the document's own example
    office = EnqueueOffice(keyring.parse([f"shop:{SECRET.decode()}"]))
    granted = office.verify("shop", site["token"]("customer-4711"), now=time.time())
    assert granted == Grant(customer("shop", "customer-4711"), False)


def test_without_keys_no_token_is_good() -> None:
    """An operator who set none accepts none."""
    with pytest.raises(TokenRefused, match="no key in enqueue_keys has signed it"):
        EnqueueOffice(None).verify("sale", token(), now=NOW)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (token(exp=NOW - 60), "it expired 60 s ago"),
        (token(nbf=NOW + 60), "its nbf is 60 s ahead"),
        (token(iat=NOW + 60), "its iat is 60 s ahead"),
        (token(exp=NOW * 1000), "give seconds, not milliseconds"),
        (token(exp="soon"), "exp, iat or nbf is not a number"),
        (token(exp=None), "its exp is missing"),
        (token(sub=None), "its sub is missing"),
        (token(aud="waitroom:shop:enqueue"), "its aud is not waitroom:sale:enqueue"),
        (token(sub="x" * 500), "sub is not 1 to 256 characters"),
        (token(sub=4711), "sub is not 1 to 256 characters"),
        (token(priority="yes"), "priority is neither"),
        (token(b"another-secret-of-the-right-length!!"), "no key in enqueue_keys has signed it"),
        (token(headers={"kid": "nobody"}), "no key in enqueue_keys has the id that its kid names"),
        (jwt.encode(CLAIMS, SECRET * 2, "HS512"), "its alg is not HS256"),
        ("abc", "it is not a whole JSON Web Token"),
        (token()[:-4], "no key in enqueue_keys has signed it|it is not a whole JSON Web Token"),
        (token(pad="x" * 3000), "it is longer than 2048 characters"),
    ],
    ids=str.split("over early fast millis time no-exp no-sub aud sub number priority signature kid alg junk cut long"),
)
def test_whose_token_is_refused_learns_why(text: str, reason: str) -> None:
    """The site's developer has made a mistake, and wants to know which."""
    with pytest.raises(TokenRefused, match=reason):
        OFFICE.verify("sale", text, now=NOW)


def test_another_rooms_token() -> None:
    """It names the room that it is for."""
    assert verified(token(), room="shop") is None
