"""Passes: RELIABILITY's list of bad gate inputs, most of them signed with the right key."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from waitroom.model import Pass, Visitor
from waitroom.proofs.keyring import LEEWAY_SECONDS, Keyring
from waitroom.proofs.passes import LONGEST, PassOffice

SECRET = b"Zq3-pB7xT0vKd9sLw2RfYh6mNc4JgU8a"
OTHER = b"9aKfP2-mXr7LtVq0WcZs5BnHy3EjGd6u"
OFFICE = PassOffice(Keyring("k1", {"k1": SECRET}))
NOW = 1_767_323_045.0
VISITOR = Visitor("AbCdEfGhIjKlMnOpQrStUg")
GRANTED = Pass(VISITOR, NOW + 300)
TEXT = OFFICE.issue("shop", GRANTED, now=NOW)
HEADER = {"alg": "HS256", "kid": "k1", "typ": "JWT"}
CLAIMS: dict[str, Any] = {"aud": "waitroom:shop", "sub": VISITOR, "iat": NOW, "exp": NOW + 300}


def segment(raw: bytes) -> str:
    """Unpadded base64url."""
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(header: object = HEADER, payload: object = CLAIMS, *, secret: bytes = SECRET) -> str:
    """A JSON Web Token made by hand, so that anything can stand in it; bytes go in as they are."""
    parts = [
        segment(part if isinstance(part, bytes) else json.dumps(part, separators=(",", ":")).encode())
        for part in (header, payload)
    ]
    mac = hmac.digest(secret, ".".join(parts).encode(), hashlib.sha256)
    return ".".join([*parts, segment(mac)])


def refused(text: str, *, room: str = "shop", now: float = NOW) -> bool:
    """Whether the text proves nothing."""
    return OFFICE.verify(room, text, now=now) is None


def test_what_is_issued_verifies() -> None:
    """A pass survives the round trip, at the size of a small cookie."""
    assert OFFICE.verify("shop", TEXT, now=NOW) == GRANTED
    assert len(TEXT) < 300


def test_a_pass_says_when_it_was_issued() -> None:
    """The time of issue comes back: a room made anew under an old name tells old passes by it."""
    proven = OFFICE.verify("shop", TEXT, now=NOW)
    assert proven is not None
    assert proven.issued == NOW


def test_the_clock_of_this_machine_does_not_matter() -> None:
    """A pass is judged by the time that is given, decades from the machine's own; so are claims of others."""
    later = 4e9
    text = OFFICE.issue("shop", Pass(VISITOR, later + 300), now=later)
    assert OFFICE.verify("shop", text, now=later) == Pass(VISITOR, later + 300)
    assert OFFICE.verify("shop", signed(payload=CLAIMS | {"nbf": later}), now=NOW) == GRANTED


def test_the_hand_made_token_is_right() -> None:
    """The tests below forge from a token that verifies: the same one that PyJWT makes."""
    assert signed() == TEXT


def test_a_plain_jwt_library_verifies_it() -> None:
    """An application behind the gate needs a JWT library and the key, nothing of waitroom."""
    claims = jwt.decode(
        OFFICE.issue("shop", Pass(VISITOR, 4e9, offer=True), now=NOW),
        SECRET,
        algorithms=["HS256"],
        audience="waitroom:shop",
        options={"require": ["exp", "iat", "sub", "aud"]},
    )
    assert claims == {"aud": "waitroom:shop", "sub": VISITOR, "iat": int(NOW), "exp": 4e9, "offer": True}


@given(st.integers(1, 2**51))
def test_a_pass_never_outlives_what_was_granted(expires_us: int) -> None:
    """The expiry in a pass is at most 1 ms earlier than the place inside, and never later."""
    granted = Pass(VISITOR, expires_us / 1_000_000)
    proven = OFFICE.verify("shop", OFFICE.issue("shop", granted, now=-1.0), now=-1.0)
    assert proven is not None
    assert granted.expires - 0.001_001 <= proven.expires <= granted.expires


@pytest.mark.parametrize("offer", [True, False])
def test_an_offer_is_marked(offer: bool) -> None:
    """A pass says whether it is an offer still to be claimed."""
    granted = Pass(VISITOR, NOW + 60, offer=offer)
    assert OFFICE.verify("shop", OFFICE.issue("shop", granted, now=NOW), now=NOW) == granted


def test_a_bound_pass_says_to_whom() -> None:
    """The fingerprint of a bound pass comes back; a pass without one has none."""
    granted = Pass(VISITOR, NOW + 60, bound="abcdefgh")
    assert OFFICE.verify("shop", OFFICE.issue("shop", granted, now=NOW), now=NOW) == granted
    assert GRANTED.bound == ""


@pytest.mark.parametrize("fingerprint", [1, None, True, ["x"], {"x": 1}])
def test_a_bad_fingerprint_is_refused(fingerprint: object) -> None:
    """A pass whose fingerprint is no text is none: it must not count as unbound."""
    assert refused(signed(payload=CLAIMS | {"ua": fingerprint}))


@pytest.mark.parametrize("offer", [1, "true", None, [True], False])
def test_only_true_makes_an_offer(offer: object) -> None:
    """Anything but the JSON value true is no offer."""
    proven = OFFICE.verify("shop", signed(payload=CLAIMS | {"offer": offer}), now=NOW)
    assert proven == GRANTED


def test_it_ends_with_its_expiry() -> None:
    """A pass is good up to its expiry and not at it: Redis time has no leeway there."""
    assert not refused(TEXT, now=NOW + 299.999)
    assert refused(TEXT, now=NOW + 300)
    assert refused(TEXT, now=NOW + 10_000)


@pytest.mark.parametrize(
    "algorithm", ["none", "None", "NONE", "RS256", "hs256", "HS384", "HS512", "ES256", "", None, 1]
)
def test_another_algorithm_is_refused(algorithm: object) -> None:
    """The algorithm is fixed, however the header spells another one, even under a good signature."""
    assert refused(signed(HEADER | {"alg": algorithm}))


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_a_real_signature_of_another_algorithm_is_refused(algorithm: str) -> None:
    """A token that is valid under another HMAC and the same key is refused."""
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        text = jwt.encode(CLAIMS, SECRET, algorithm, headers={"kid": "k1"})
    assert refused(text)


def test_an_unsigned_token_is_refused() -> None:
    """`alg: none` with an empty signature, and an empty signature under the right header, prove nothing."""
    unsigned = jwt.encode(CLAIMS, None, "none", headers={"kid": "k1"})
    header, payload, _ = TEXT.split(".")
    assert refused(unsigned)
    assert refused(f"{header}.{payload}.")
    assert refused(f"{header}.{payload}")


@pytest.mark.parametrize(
    "kid", ["k2", "", "K1", "k1 ", "../../etc/passwd", "/dev/null", "k1\0", "k" * 10_000, None, 1, ["k1"]]
)
def test_an_unknown_key_id_is_refused(kid: object) -> None:
    """A key id that is not in the ring proves nothing, whatever it looks like."""
    assert refused(signed(HEADER | {"kid": kid}))


def test_a_header_without_a_key_id_is_refused() -> None:
    """Without a key id no key is tried."""
    assert refused(signed({"alg": "HS256", "typ": "JWT"}))


@pytest.mark.parametrize(
    "header",
    [HEADER | {"crit": ["exp"]}, HEADER | {"crit": []}, HEADER | {"b64": False}, HEADER | {"jku": "https://e.example"},
     HEADER | {"jwk": {"kty": "oct", "k": "AA"}}, HEADER | {"zip": "DEF"}, HEADER | {"typ": "ticket"},
     dict(reversed(HEADER.items())), b'{"alg": "HS256", "kid": "k1", "typ": "JWT"}', b"{}", b"[]", b"null", b"\xff",
     b""],
)  # fmt: skip
def test_any_other_header_is_refused(header: object) -> None:
    """The header must be, byte for byte, the one that this ring writes; `crit` and its like never reach a parser."""
    assert refused(signed(header))


@pytest.mark.parametrize(
    "expires",
    [None, "1e12", str(int(NOW) + 300), True, False, [NOW + 300], {"at": NOW + 300}, -1, -(2**64), 0, 1.5,
     float("nan"), float("inf"), float("-inf")],
    ids=repr,
)  # fmt: skip
def test_a_bad_expiry_is_refused(expires: object) -> None:
    """An expiry that is past or no finite number is refused under the right signature."""
    assert refused(signed(payload=CLAIMS | {"exp": expires}))


@pytest.mark.parametrize("expires", [2**64, 10**400, 1e300], ids=["2^64", "10^400", "1e300"])
def test_an_expiry_beyond_all_time_is_refused(expires: float) -> None:
    """An expiry that no room can have given is refused, and does not raise."""
    assert refused(signed(payload=CLAIMS | {"exp": expires}))


def test_the_latest_expiry() -> None:
    """The largest whole number that every reader takes for what it is, is a good expiry; the next one is none."""
    assert not refused(signed(payload=CLAIMS | {"exp": 2**53 - 1}))
    assert refused(signed(payload=CLAIMS | {"exp": 2**53}))


def test_a_fraction_of_a_second_is_a_good_expiry() -> None:
    """An expiry may be a float: RFC 7519 allows it and waitroom writes it."""
    assert OFFICE.verify("shop", signed(payload=CLAIMS | {"exp": NOW + 0.5}), now=NOW) == Pass(VISITOR, NOW + 0.5)


@pytest.mark.parametrize(
    "issued", [None, "1", True, [1], float("nan"), float("inf"), 10**400], ids=lambda v: repr(v)[:9]
)
def test_a_bad_time_of_issue_is_refused(issued: object) -> None:
    """A time of issue that is no finite number is refused."""
    assert refused(signed(payload=CLAIMS | {"iat": issued}))


def test_a_pass_from_the_future_is_refused() -> None:
    """The time of issue may lie ahead by the leeway and no more."""
    assert not refused(signed(payload=CLAIMS | {"iat": NOW + LEEWAY_SECONDS}))
    assert refused(signed(payload=CLAIMS | {"iat": NOW + LEEWAY_SECONDS + 0.001}))


@pytest.mark.parametrize("missing", sorted(CLAIMS))
def test_a_missing_claim_is_refused(missing: str) -> None:
    """Each of the four claims must be there."""
    assert refused(signed(payload={name: value for name, value in CLAIMS.items() if name != missing}))


@pytest.mark.parametrize(
    "audience",
    ["waitroom:other", "shop", "waitroom:", "waitroom:shop2", "WAITROOM:SHOP", "", None, 1, True, {},
     ["waitroom:shop"], ["waitroom:shop", "waitroom:other"], []],
    ids=repr,
)  # fmt: skip
def test_another_audience_is_refused(audience: object) -> None:
    """A pass is for one room, named as text; a list that holds the room is refused too."""
    assert refused(signed(payload=CLAIMS | {"aud": audience}))


def test_a_pass_of_another_room_is_refused() -> None:
    """Each pass opens its own room only, in every combination."""
    rooms = ["shop", "shop2", "s", "tickets"]
    texts = {room: OFFICE.issue(room, GRANTED, now=NOW) for room in rooms}
    for room in rooms:
        assert [other for other in rooms if not refused(texts[other], room=room)] == [room]


@pytest.mark.parametrize(
    "visitor", ["", "short", VISITOR + "A", VISITOR[:-1] + "=", VISITOR[:-1] + "\n", "\u0661" * 22, None, 7, [VISITOR]]
)
def test_a_bad_visitor_is_refused(visitor: object) -> None:
    """The subject must be a visitor id."""
    assert refused(signed(payload=CLAIMS | {"sub": visitor}))


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b"null", b"1", b'"x"', b"\xff\xfe", b"[" * 300, b"{}"])
def test_a_payload_that_is_no_document_is_refused(payload: bytes) -> None:
    """A signed payload that is not a JSON object with the claims is refused quietly."""
    assert refused(signed(payload=payload))


@pytest.mark.parametrize(
    "extra", ["=", "==", " ", "\n", "\t", "\0", ".", "A", "AA", "AAAA", "\u00e9", "\u0661", ".x", "%3D"]
)
def test_trailing_and_leading_text_is_refused(extra: str) -> None:
    """Nothing may stand before, behind or between the segments."""
    header, payload, mac = TEXT.split(".")
    for text in (TEXT + extra, extra + TEXT, f"{header}{extra}.{payload}.{mac}", f"{header}.{payload}{extra}.{mac}"):
        assert refused(text), text


def test_padded_segments_are_refused() -> None:
    """A segment with base64 padding is another spelling, thus no pass."""
    parts = TEXT.split(".")
    for at in range(3):
        padded = [part + "=" * (-len(part) % 4 or 4) if place == at else part for place, part in enumerate(parts)]
        assert refused(".".join(padded))


def test_the_last_bits_must_be_canonical() -> None:
    """The signature's last character has spare bits; each of the other spellings of its bytes is refused."""
    head, mac = TEXT.rsplit(".", 1)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    raw = urlsafe_b64decode(mac + "=")
    same = [end for end in alphabet if urlsafe_b64decode(mac[:-1] + end + "=") == raw]
    assert len(same) == 4
    assert [end for end in same if not refused(f"{head}.{mac[:-1]}{end}")] == [mac[-1]]


def test_every_changed_character_is_refused() -> None:
    """Exhaustively: no character of a pass can be replaced by its neighbour."""
    for at, character in enumerate(TEXT):
        forged = TEXT[:at] + ("B" if character == "A" else "A") + TEXT[at + 1 :]
        assert refused(forged), at


def test_every_flipped_bit_is_refused() -> None:
    """Exhaustively: flipping any bit of any decoded segment makes a pass worthless."""
    parts = [urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in TEXT.split(".")]
    for place, raw in enumerate(parts):
        for bit in range(len(raw) * 8):
            forged = bytearray(raw)
            forged[bit // 8] ^= 1 << bit % 8
            texts = [segment(bytes(forged) if at == place else part) for at, part in enumerate(parts)]
            assert refused(".".join(texts)), (place, bit)


@pytest.mark.parametrize("text", ["", ".", "..", "...", "a.b.c.d", "a", TEXT + "." + TEXT, TEXT.replace(".", ". ")])
def test_the_wrong_number_of_segments_is_refused(text: str) -> None:
    """A pass has three segments."""
    assert refused(text)


def test_what_is_too_long_is_refused() -> None:
    """A megabyte is refused, also when it is signed with the right key."""
    assert refused("A" * 1_000_000)
    assert refused(signed(payload=CLAIMS | {"note": "x" * 1_000_000}))


def test_the_longest_pass() -> None:
    """A token of the longest length is looked at, one of a character more is not."""
    sizes = {len(text): text for text in (signed(payload=CLAIMS | {"note": "x" * size}) for size in range(500, 800))}
    assert not refused(sizes[LONGEST])
    assert refused(sizes[min(size for size in sizes if size > LONGEST)])


@given(st.text(max_size=300))
def test_garbage_is_refused_quietly(text: str) -> None:
    """Whatever is sent, verifying answers None and raises nothing."""
    assert refused(text)


@given(st.binary(max_size=300))
def test_any_signed_payload_is_judged_quietly(payload: bytes) -> None:
    """Not even the right key makes verifying raise."""
    assert refused(signed(payload=payload))


def test_both_keys_verify_during_a_rotation_and_a_retired_one_never() -> None:
    """Two keys overlap; a key that was taken out, or whose id got a new secret, verifies nothing."""
    both = PassOffice(Keyring("k2", {"k2": OTHER, "k1": SECRET}))
    assert both.verify("shop", TEXT, now=NOW) == GRANTED
    by_new = both.issue("shop", GRANTED, now=NOW)
    assert both.verify("shop", by_new, now=NOW) == GRANTED
    assert refused(by_new)
    assert PassOffice(Keyring("k2", {"k2": OTHER})).verify("shop", TEXT, now=NOW) is None
    assert PassOffice(Keyring("k1", {"k1": OTHER})).verify("shop", TEXT, now=NOW) is None


def test_a_token_signed_with_the_wrong_secret_is_refused() -> None:
    """The right header over the wrong key proves nothing."""
    assert refused(signed(secret=OTHER))
    assert refused(signed(secret=b""))
