"""Whether addresses of a site are gated: what `waitroom check-gate` asks without a pass, and how answers are judged.

The gate has signs of its own: a problem document of waitroom, the way to the waiting page, or a pass that was just
given. Any other answer came from somewhere else, so the request got past the gate, or never came near it.
"""

from __future__ import annotations

import http.client
import json
import re
import ssl
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import urlsplit

from waitroom.errors import SettingsError

#: Seconds within which each question must be answered.
ANSWER_SECONDS: Final = 10.0

#: Bytes of an answer that are read: a problem document is far shorter.
_READ: Final = 16_384

#: How each address is asked for. `browser` opens a page, the others are calls; POST has an empty body.
WAYS: Final = ("browser", "GET", "HEAD", "OPTIONS", "POST")

_PAGE: Final = {
    "Accept": "text/html,application/xhtml+xml,*/*;q=0.8",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Site": "none",
}
_CALL: Final = {"Accept": "application/json"}

_PASS: Final = re.compile(r"(__Host-)?waitroom_pass_[a-z0-9][a-z0-9_-]*=[^;]")
_TO_THE_PAGE: Final = re.compile(r"/wait/[a-z0-9][a-z0-9_-]*(\?|\Z)")

#: `gated`: the gate answered. `open`: something else did. `silent`: nothing did.
Verdict = Literal["gated", "open", "silent"]


@dataclass(frozen=True)
class Answer:
    """What came back: the status, the headers in lower case, the cookies set, and the beginning of the body.

    `body` is None where the answer has none by its nature: HEAD.
    """

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    cookies: tuple[str, ...] = ()
    body: bytes | None = b""


@dataclass(frozen=True)
class Attempt:
    """One request without a pass: for which address, in which way, and in a few words what was answered."""

    url: str
    way: str
    target: str
    verdict: Verdict
    detail: str
    let_in: bool = False


def examine(urls: Iterable[str], *, safe: bool = False) -> Iterator[Attempt]:
    """Ask for each address in every way, and in other spellings by GET; `safe` leaves POST out.

    Raises SettingsError for what is no address, before anything is asked.
    """
    asked = [(url, _origin(url), _target(url)) for url in urls]
    for url, origin, target in asked:
        for way in WAYS:
            if not (safe and way == "POST"):
                yield _attempt(url, origin, way, target)
        for other in spellings(target):
            yield _attempt(url, origin, "GET", other)


def spellings(target: str) -> list[str]:
    """The same address as other software might read it: written differently, and in a gate by path another one."""
    path, mark, query = target.partition("?")
    rest = mark + query
    first = path[1:2]
    return [
        spelled + rest
        for spelled in (
            "/" + path,
            "/." + path,
            "/x/.." + path,
            "/x/%2e%2e" + path,
            f"/%{ord(first):02x}{path[2:]}" if first else "/%2e/",
            "/" + path[1:].replace("/", "%2f") if path.count("/") > 1 else path + "%20",
            path.upper() if path.upper() != path else path + "%2f",
            path + ";x=.css",
        )
    ]


def judge(answer: Answer) -> tuple[Verdict, str, bool]:
    """The verdict, what was answered in a few words, and whether a pass was given."""
    if any(_PASS.match(cookie) for cookie in answer.cookies) or "x-waitroom-pass" in answer.headers:
        return "gated", f"{answer.status}, let in with a pass: nobody waits", True
    if answer.status == 303 and _TO_THE_PAGE.match(answer.headers.get("location", "")):
        return "gated", "303, sent to the waiting page", False
    kind = _problem(answer)
    if kind is not None:
        return "gated", f"{answer.status}, {kind}", False
    return "open", f"{answer.status}, not by the gate", False


def _problem(answer: Answer) -> str | None:
    """The kind of waitroom's problem document that was answered, or None."""
    if not answer.headers.get("content-type", "").startswith("application/problem+json"):
        return None
    if answer.body is None:
        return "a problem document" if answer.status in (401, 403, 429, 503) else None
    try:
        document = json.loads(answer.body)
    except ValueError:
        return None
    kind = document.get("type") if isinstance(document, dict) else None
    return kind.removeprefix("urn:waitroom:") if isinstance(kind, str) and kind.startswith("urn:waitroom:") else None


def _attempt(url: str, origin: tuple[str, str, int], way: str, target: str) -> Attempt:
    method = "GET" if way == "browser" else way
    try:
        answer = _ask(origin, method, target, _PAGE if way == "browser" else _CALL)
    except (OSError, http.client.HTTPException) as error:
        return Attempt(url, way, target, "silent", str(error) or type(error).__name__)
    verdict, detail, let_in = judge(answer)
    return Attempt(url, way, target, verdict, detail, let_in)


def _ask(origin: tuple[str, str, int], method: str, target: str, headers: dict[str, str]) -> Answer:
    """One request on a connection of its own; redirects are not followed, and no cookie is kept."""
    scheme, host, port = origin
    link = (
        http.client.HTTPSConnection(host, port, timeout=ANSWER_SECONDS, context=ssl.create_default_context())
        if scheme == "https"
        else http.client.HTTPConnection(host, port, timeout=ANSWER_SECONDS)
    )
    try:
        body = b"" if method == "POST" else None
        link.request(method, target, body, {**headers, "Connection": "close", "User-Agent": "waitroom check-gate"})
        response = link.getresponse()
        cookies = tuple(value for name, value in response.getheaders() if name.lower() == "set-cookie")
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, cookies, None if method == "HEAD" else response.read(_READ))
    finally:
        link.close()


def _origin(url: str) -> tuple[str, str, int]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise SettingsError(f"{url!r} is not an address: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise SettingsError(f"{url!r} is not an address like https://shop.example/checkout")
    if not re.fullmatch(r"[!-~]*", url):
        raise SettingsError(f"{url!r} has characters that must be percent-encoded")
    return parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80)


def _target(url: str) -> str:
    parts = urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
