"""Whether addresses of a site are gated: what is asked without a pass, and how answers are judged.

The gate has signs of its own: a problem document of waitroom, the way to the waiting page, or a pass that was just
given. Any other answer came from somewhere else, so the request got past the gate, or never came near it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from waitroom.checks.finding import Finding
from waitroom.checks.site.line import SILENCE, Answer, Site

#: How each address is asked for. `browser` opens a page and so does `robot`, which says that it is a search engine.
#: The others are calls. POST has an empty body.
WAYS: Final = ("GET", "browser", "HEAD", "OPTIONS", "POST", "robot")

#: What a browser says that goes to a page, and what a script of the same page says.
PAGE: Final = {
    "Accept": "text/html,application/xhtml+xml,*/*;q=0.8",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Site": "none",
}
ROBOT: Final = {
    "Accept": "*/*",
    "User-Agent": "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
}

#: Endings of files that are often freed of a gate.
_ENDINGS: Final = ("css", "js", "png", "jpg", "svg", "ico", "woff2", "json")

CALL: Final = {"Accept": "application/json"}

#: Brings no pass, and asks for one as clients without cookies do: it is seen also where cookies are taken off.
_AS_HEADER: Final = {"X-Waitroom-Pass": "none"}

_PASS: Final = re.compile(r"(__Host-)?waitroom_pass_[a-z0-9][a-z0-9_-]*=[^;]")
PROOF: Final = re.compile(r"(?:__Host-)?waitroom_(?P<kind>ticket|pass)_(?P<room>[a-z0-9][a-z0-9_-]*)=(?P<text>[^;]+)")
_TO_THE_PAGE: Final = re.compile(r"/wait/[a-z0-9][a-z0-9_-]*(\?|\Z)")

_HEADERS: Final = {"browser": PAGE, "robot": ROBOT}

#: Share of the requests past the gate that shows as visitors inside, if the gate let them in.
_ADMITTED_SHARE: Final = 0.8

#: Requests that a finding names at most.
_SHOWN: Final = 4

#: `gated`: the gate answered. `open`: something else did. `silent`: nothing did, or a proxy that got no answer.
Verdict = Literal["gated", "open", "silent"]


@dataclass(frozen=True)
class Attempt:
    """One request without a pass: for which address, in which way, and in a few words what was answered."""

    url: str
    way: str
    target: str
    verdict: Verdict
    detail: str
    let_in: bool = False
    kept: str = ""
    given: tuple[str, ...] = ()
    refusal: int = 0


def examine(
    asked: Iterable[tuple[Site, str]], *, safe: bool = False, noted: Callable[[Site, Answer], None] = lambda *_: None
) -> Iterator[Attempt]:
    """Ask for each address in every way, and in other spellings by GET; `safe` leaves POST out.

    Each answer is `noted`: it may have brought a place.
    """
    for site, target in asked:
        refusal = 0
        for way in WAYS:
            if not (safe and way == "POST"):
                attempt = _attempt(site, target, way, target, noted, refusal=refusal)
                refusal = refusal or attempt.refusal
                yield attempt
        for other in spellings(target):
            yield _attempt(site, target, "GET", other, noted)


def finding(attempts: Sequence[Attempt], *, admitted: int = 0) -> Finding:
    """What the attempts tell together. `admitted`: how many more were inside after them than before."""
    past = [attempt for attempt in attempts if attempt.verdict == "open"]
    silent = [attempt for attempt in attempts if attempt.verdict == "silent"]
    gated = len(attempts) - len(past) - len(silent)
    told = f"{gated} of {len(attempts)} requests without a pass were answered by the gate"
    if any(attempt.let_in for attempt in attempts):
        told += ", some by a pass of their own, since no visitor waits"
    if past:
        if len(past) == len(attempts) and admitted >= len(past) * _ADMITTED_SHARE:
            return Finding(
                *(
                    "gate",
                    "fail",
                    f"{told}, and {admitted} more visitors were inside after them; {_listed('open', past)}",
                ),
                "In nginx put `include waitroom-gate.conf;` into each location that has an `add_header` of its own.",
                "The gate lets these visitors in, and the pass that it gives them is lost on the way.",
            )
        return _open(told, past, len(attempts))
    if silent:
        remedy = "See that the site answers each of them, then ask again."
        return Finding("gate", "unknown", f"{told}; {_listed('silent', silent)}", remedy)
    return Finding("gate", "ok", told)


def _open(told: str, past: list[Attempt], asked: int) -> Finding:
    kept = [attempt for attempt in past if attempt.kept]
    if len(kept) == len(past):
        cause = f"A cache in front of the gate keeps what visitors with a pass were shown ({kept[0].kept})."
        remedy = (
            "Let the cache keep nothing of the gated site: take its rule away, and hide the origin's Cache-Control as "
            "deploy/nginx/variants/behind-cdn.conf does."
        )
    elif len(past) == asked:
        cause = "The gate is not asked at all: these addresses lead to the origin."
        remedy = (
            "In nginx put `include waitroom-locations.conf;` into the server and `include waitroom-gate.conf;` into "
            "each location that leads to the origin. Let no visitor reach the origin itself."
        )
    else:
        cause = "The gate is asked for some ways and spellings of an address, and not for these."
        remedy = (
            "In nginx take `auth_request off;`, `return` and locations by suffix or method out of the server. Put "
            "`include waitroom-gate.conf;` into each location, and write `proxy_pass http://ORIGIN$waitroom_lock;`."
        )
    return Finding("gate", "fail", f"{told}; {_listed('open', past)}", remedy, cause)


def _listed(verdict: str, attempts: list[Attempt]) -> str:
    shown = [f"{verdict} {each.way} {each.target} at {each.url}: {each.detail}" for each in attempts[:_SHOWN]]
    more = len(attempts) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more else "")


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
            *(f"{path};x=.{ending}" for ending in _ENDINGS),
        )
    ]


def judge(answer: Answer, *, refusal: int = 0, page: bool = False) -> tuple[Verdict, str, bool]:
    """The verdict, what was answered in a few words, and whether a pass was given.

    `refusal`: the status by which the gate refused the same address as a call. To browsers (`page`) nginx says so by a
    page of its own, and some proxies take Content-Type off an answer to HEAD: then the status tells.
    """
    # What was brought, an origin may say again.
    handed = answer.headers.get("x-waitroom-pass", "") not in ("", *_AS_HEADER.values())
    if handed or any(_PASS.match(cookie) for cookie in answer.cookies):
        return "gated", f"{answer.status}, let in with a pass: no visitor waits", True
    if answer.status == 303 and _TO_THE_PAGE.match(answer.headers.get("location", "")):
        return "gated", "303, sent to the waiting page", False
    problem = _problem(answer)
    if problem is not None:
        return "gated", f"{answer.status}, {problem}", False
    kind = answer.headers.get("content-type")
    shown = page and refusal in (403, 429, 503) and (kind or "").startswith("text/html")
    if answer.status == refusal and (shown or (answer.body is None and kind is None)):
        return "gated", f"{answer.status}, as by GET", False
    if answer.status in (502, 503, 504):
        return "silent", f"{answer.status}, by a proxy that got no answer", False
    return "open", f"{answer.status}, not by the gate", False


def _problem(answer: Answer) -> str | None:
    """The kind of waitroom's problem document that was answered, or None."""
    if not answer.headers.get("content-type", "").startswith("application/problem+json"):
        return None
    if answer.body is None:
        return "a problem document" if answer.status in (401, 403, 429, 503) else None
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    kind = document.get("type") if isinstance(document, dict) else None
    return kind.removeprefix("urn:waitroom:") if isinstance(kind, str) and kind.startswith("urn:waitroom:") else None


def _attempt(
    site: Site, of: str, way: str, target: str, noted: Callable[[Site, Answer], None], *, refusal: int = 0
) -> Attempt:
    method, url = "GET" if way in _HEADERS else way, site.origin + of
    try:
        answer = without_pass(site, method, target, _HEADERS.get(way, CALL))
    except SILENCE as error:
        return Attempt(url, way, target, "silent", str(error) or type(error).__name__)
    noted(site, answer)
    verdict, detail, let_in = judge(answer, refusal=refusal, page=way == "browser")
    refused = answer.status if verdict == "gated" and not let_in else 0
    return Attempt(url, way, target, verdict, detail, let_in, answer.kept, proofs(answer), refused)


def without_pass(site: Site, method: str, target: str, headers: Mapping[str, str]) -> Answer:
    """Ask as a newcomer. Raises one of SILENCE."""
    return site.ask(method, target, {**headers, **_AS_HEADER}, b"" if method == "POST" else None)


def proofs(answer: Answer) -> tuple[str, ...]:
    """The passes that an answer hands out."""
    found = (PROOF.match(cookie) for cookie in answer.cookies)
    return tuple(match["text"] for match in found if match and match["kind"] == "pass")
