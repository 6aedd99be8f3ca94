"""Passes that are none."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest

from tests.web.bad_inputs.crowd import Crowd
from tests.web.sites import SIGNING_KEY, assert_problem, bearer
from waitroom.proofs import keyring
from waitroom.proofs.passes import PassOffice
from waitroom.proofs.tickets import new_visitor

SECRET = SIGNING_KEY.partition(":")[2]


def claims(**changed: Any) -> dict[str, Any]:
    """A pass's claims that are all right, save what is changed; None takes a claim away."""
    now = int(time.time())
    good = {"aud": "waitroom:shop", "sub": str(new_visitor()), "iat": now, "exp": now + 600} | changed
    return {name: value for name, value in good.items() if value is not None}


def signed(payload: dict[str, Any], *, algorithm: str = "HS256", kid: object = "k1", **headers: Any) -> str:
    """A token under the site's own key."""
    secret = "" if algorithm == "none" else SECRET
    return jwt.encode(payload, secret or None, algorithm, headers={"kid": kid, **headers})


def spelled(text: str, *, header: str = "", digest: str = "sha256") -> str:
    """A JSON text as a token's payload, signed; for what a JSON library would not write."""

    def encoded(raw: bytes) -> str:
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    head = header or signed(claims()).split(".")[0]
    body = f"{head}.{encoded(text.encode())}"
    return f"{body}.{encoded(hmac.digest(SECRET.encode(), body.encode(), digest))}"


def _with_exp(number: str) -> str:
    return spelled(json.dumps(claims(exp=None))[:-1] + f', "exp": {number}}}')


BAD_PASSES: dict[str, Callable[[], str | bytes]] = {
    "empty": lambda: "",
    "four parts": lambda: "a.b.c.d",
    "two parts": lambda: signed(claims()).rpartition(".")[0],
    "empty signature": lambda: signed(claims()).rpartition(".")[0] + ".",
    "30 kB": lambda: "x" * 30_000,
    "alg none": lambda: signed(claims(), algorithm="none"),
    "alg HS512": lambda: spelled(json.dumps(claims()), header=_header(alg="HS512"), digest="sha512"),
    "alg hs256": lambda: signed(claims()).replace(signed(claims()).split(".")[0], _header(alg="hs256")),
    "alg RS256": lambda: signed(claims()).replace(signed(claims()).split(".")[0], _header(alg="RS256")),
    "critical": lambda: signed(claims(), crit=["x"], x=1),
    "unknown kid": lambda: signed(claims(), kid="k2"),
    "kid of a path": lambda: signed(claims(), kid="../../etc/passwd"),
    "kid of 10 kB": lambda: signed(claims(), kid="k" * 10_000),
    "other key": lambda: jwt.encode(
        claims(), "another key of at least thirty-two bytes", "HS256", headers={"kid": "k1"}
    ),
    "no exp": lambda: signed(claims(exp=None)),
    "exp text": lambda: spelled(json.dumps(claims(exp="9999999999"))),
    "exp past": lambda: signed(claims(exp=1)),
    "exp negative": lambda: signed(claims(exp=-1)),
    "exp true": lambda: spelled(json.dumps(claims(exp=True))),
    "exp null": lambda: _with_exp("null"),
    "exp list": lambda: _with_exp("[9999999999]"),
    "exp NaN": lambda: _with_exp("NaN"),
    "exp Infinity": lambda: _with_exp("Infinity"),
    "exp 1e400": lambda: _with_exp("1e400"),
    "iat future": lambda: signed(claims(iat=int(time.time()) + 3600)),
    "no iat": lambda: signed(claims(iat=None)),
    "iat text": lambda: spelled(json.dumps(claims(iat="1"))),
    "no sub": lambda: signed(claims(sub=None)),
    "sub number": lambda: spelled(json.dumps(claims(sub=7))),
    "sub of somebody's making": lambda: signed(claims(sub="!aaa")),
    "sub with newline": lambda: signed(claims(sub="A" * 22 + "\n")),
    "aud other": lambda: signed(claims(aud="waitroom:other")),
    "aud list": lambda: signed(claims(aud=["waitroom:shop", "waitroom:other"])),
    "aud missing": lambda: signed(claims(aud=None)),
    "aud bare": lambda: signed(claims(aud="shop")),
    "payload list": lambda: spelled("[]"),
    "payload cut": lambda: spelled('{"aud":'),
    "payload deep": lambda: spelled("[" * 300 + "]" * 300),
    "trailing bytes": lambda: signed(claims()) + "\xa0",
    "trailing newline escaped": lambda: signed(claims()) + "%0A",
    "padded": lambda: signed(claims()) + "=",
    "blank inside": lambda: signed(claims()).replace(".", ". ", 1),
    "last bits": lambda: _other_spelling(signed(claims())),
    "unicode digits": lambda: "\u0661.\u0662.\u0663".encode(),
    "raw bytes": lambda: b"\xff\xfe.\x80.\x81",
}


def _header(**changed: Any) -> str:
    header = {"alg": "HS256", "kid": "k1", "typ": "JWT"} | changed
    return base64.urlsafe_b64encode(json.dumps(header, separators=(",", ":")).encode()).rstrip(b"=").decode()


def _other_spelling(text: str) -> str:
    """The same bytes with other unused last bits: 43 characters leave two bits over."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return text[:-1] + alphabet[alphabet.index(text[-1]) ^ 1]


def test_the_forged_passes_would_be_good() -> None:
    """The tables' own starting point is a pass that the key ring accepts: so each case fails for its own reason."""
    office = PassOffice(keyring.parse([SIGNING_KEY]))
    for text in (signed(claims()), spelled(json.dumps(claims())), _with_exp(str(int(time.time()) + 600))):
        assert office.verify("shop", text, now=time.time()) is not None


@pytest.mark.parametrize("bad", BAD_PASSES)
@pytest.mark.parametrize("way", ["cookie", "header"])
@pytest.mark.usefixtures("unchanged")
def test_a_bad_pass_opens_no_gate(crowd: Crowd, way: str, bad: str) -> None:
    """Neither as cookie nor as X-Waitroom-Pass; nor does it show a place at status."""
    text = BAD_PASSES[bad]()
    raw = text.encode("latin-1") if isinstance(text, str) else text
    cookie = (b"Cookie", b"waitroom_pass_shop=" + raw)
    brought = cookie if way == "cookie" else (b"X-Waitroom-Pass", raw)
    answer = crowd.site.call("GET", "/gate/shop", headers=[brought])
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert_problem(crowd.site.call("GET", "/v1/rooms/shop/status", headers=[cookie]), 401)


@pytest.mark.parametrize("text", ["ticket", "other pass", "other ticket"])
@pytest.mark.usefixtures("unchanged")
def test_a_proof_of_another_kind_or_room_opens_no_gate(crowd: Crowd, text: str) -> None:
    """A ticket never passes as a pass, nor does a pass of the room beside (I20)."""
    proof = {"ticket": crowd.waiting[0], "other pass": crowd.other_pass, "other ticket": crowd.other_ticket}[text]
    for headers in ({"Cookie": f"waitroom_pass_shop={proof}"}, {"X-Waitroom-Pass": proof}, bearer(proof)):
        assert crowd.site.call("GET", "/gate/shop", headers=headers).status_code == 401


@pytest.mark.usefixtures("unchanged")
def test_a_body_at_the_gate_is_ignored(crowd: Crowd) -> None:
    """A proxy that hands the body on gets the same answer."""
    headers = {"Cookie": f"waitroom_pass_shop={crowd.inside}"}
    assert crowd.site.call("GET", "/gate/shop", headers=headers, content=b"x" * 100_000).status_code == 204
    assert crowd.site.call("GET", "/gate/shop", content=b"x" * 100_000).status_code == 401
