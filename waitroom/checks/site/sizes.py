"""What is too large on the way: the headers of a request, a long address, a body, the headers of an answer."""

from __future__ import annotations

from typing import Final

from waitroom.checks.finding import Finding
from waitroom.checks.site.gate import CALL, PAGE, judge
from waitroom.checks.site.line import SILENCE, Answer, Site
from waitroom.checks.site.visit import Places, Visitor

#: Bytes of cookies that a site's visitors bring, if the operator does not know better, and of a long address.
HEADER_BYTES: Final = 6_000
_LONG_ADDRESS: Final = 1_900

#: Bytes of one cookie at most.
_COOKIE_BYTES: Final = 3_000

#: Seconds within which a proxy refuses a body by its length.
_REFUSAL_SECONDS: Final = 3.0

#: In place of a status: the other side ended the connection without a word.
_HUNG_UP: Final = -1

#: How requests are refused that have too much before their body.
_TOO_LARGE: Final = frozenset({400, 413, 414, 431, 494, 500, 502, 503, 520})

_BUFFERS: Final = (
    "In nginx put `large_client_header_buffers 4 16k;` into the server (and `client_header_buffer_size` no higher than "
    "that), and raise the limit of headers of every load balancer and CDN in front."
)


def examine_headers(
    site: Site, visitor: Visitor | None, room: str, target: str, *, size: int, direct: Site | None, places: Places
) -> Finding:
    """Bring many cookies to a gated address, to the waiting page and to a call, and ask for a long address."""
    more = _cookies(size)
    cookies = visitor.proofs() if visitor else {}
    many = visitor.proofs(*more) if visitor else {"Cookie": "; ".join(more)}
    long = f"{target}{'&' if '?' in target else '?'}q=" + "x" * _LONG_ADDRESS
    asked: list[tuple[str, str, str, dict[str, str]]] = [
        (f"{size:,} bytes of cookies at {target}", "GET", target, {**PAGE, **many}),
        (f"an address of {len(long):,} characters", "GET", long, {**PAGE, **cookies}),
    ]
    if room:
        asked += [
            (f"{size:,} bytes of cookies at the waiting page", "HEAD", f"/wait/{room}", {**PAGE, **many}),
            (f"{size:,} bytes of cookies at a call", "GET", f"/v1/rooms/{room}/status", {**CALL, **many}),
            ("the waiting page for such an address", "HEAD", f"/wait/{room}?return={long}", {**PAGE, **cookies}),
        ]
    try:
        faults = []
        for what, method, path, headers in asked:
            status = _status(site, method, path, headers, places)
            plain = _status(site, method, path if "cookies" in what else target, {**headers, **_only(cookies)}, places)
            if status != plain and (status in _TOO_LARGE or status == 0):
                faults.append(f"{what}: {status or 'hung up'}, without them {plain}")
    except SILENCE as error:
        return Finding("headers", "unknown", f"the site does not answer: {error}", "Ask again.")
    if (
        faults
        and direct is not None
        and all(fault.startswith(f"{size:,} bytes of cookies at {target}") for fault in faults)
    ):
        try:
            alone = direct.ask("GET", target, {**PAGE, **many, "Host": site.authority}).status
        except SILENCE:
            alone = 0
        if alone in _TOO_LARGE:
            return Finding("headers", "ok", f"the origin itself refuses {size:,} bytes of cookies ({alone})")
    if faults:
        cause = "A proxy in front takes less before the body of a request than browsers send."
        return Finding("headers", "fail", "; ".join(faults), _BUFFERS, cause)
    if (
        direct is not None
        and visitor is not None
        and visitor.admitted
        and (found := _of_answers(site, direct, visitor, target))
    ):
        return found
    return Finding("headers", "ok", f"{size:,} bytes of cookies and addresses of {len(long):,} characters come through")


def _only(cookies: dict[str, str]) -> dict[str, str]:
    return cookies or {"Cookie": "a=b"}


def _cookies(size: int) -> list[str]:
    made: list[str] = []
    while size > 0:
        part = min(size, _COOKIE_BYTES)
        name = f"site{len(made)}="
        made.append(name + "x" * max(part - len(name) - 2, 1))
        size -= part
    return made


def _status(site: Site, method: str, path: str, headers: dict[str, str], places: Places) -> int:
    """The status that is answered; 0 where the other side hangs up."""
    try:
        answer = site.ask(method, path, headers)
    except TimeoutError:
        raise
    except SILENCE:
        return 0
    places.note(site, answer)
    return answer.status


def _of_answers(site: Site, direct: Site, visitor: Visitor, target: str) -> Finding | None:
    """An answer of the origin that the proxy cannot take, for its headers."""
    try:
        through = visitor.go_inside(target)
    except SILENCE:
        return None
    if through.status not in (500, 502, 503):
        return None
    try:
        alone = direct.ask("GET", target, {**PAGE, "Host": site.authority})
    except SILENCE:
        return None
    size = sum(len(name) + len(value) + 4 for name, value in alone.headers.items()) + sum(map(len, alone.cookies))
    if alone.status >= 500 or size < 3_000:
        return None
    return Finding(
        *(
            "headers",
            "fail",
            f"{target} is {alone.status} at the origin, with {size:,} bytes of headers, and {through.status} here",
        ),
        "In nginx put `proxy_buffer_size 16k; proxy_buffers 8 16k;` into the location that leads to the origin.",
        "The headers of the origin's answer are larger than the proxy's buffer.",
    )


def examine_body(
    site: Site, visitor: Visitor | None, path: str, *, size: int, whole: bool, direct: Site | None
) -> Finding:
    """Ask with a body of that size, by its length alone; `whole`: with a pass, the body itself."""
    if not size:
        remedy = "Say how large the largest upload of the site is: --body-bytes 20000000, with --body-path /upload."
        return Finding("body", "unknown", "not tried: the size of the site's largest upload is not known", remedy)
    told = f"a POST of {size:,} bytes to {path}"
    form = {"Content-Type": "application/octet-stream", **CALL}
    try:
        status = site.declared(
            "POST", path, {**form, **(visitor.proofs() if visitor else {})}, size, seconds=_REFUSAL_SECONDS
        )
        if status != 413 and whole and visitor is not None and visitor.admitted:
            status = _whole(site, visitor, path, form, size)
    except ConnectionError:
        status = _HUNG_UP
    except SILENCE as error:
        return Finding("body", "unknown", f"{told}: {error}", "Ask again.")
    if status == _HUNG_UP and _declared(site, path, form, 1) == _HUNG_UP:
        return Finding("body", "unknown", f"{told}: hung up, as with a body of 1 byte", "Name another --body-path.")
    if status not in (413, _HUNG_UP):
        return Finding("body", "ok", f"{told}: not refused for its size ({status or 'the body is waited for'})")
    if direct is not None and _declared(direct, path, {**form, "Host": site.authority}, size) == 413:
        return Finding("body", "ok", f"{told}: 413, as the origin itself answers")
    return Finding(
        *("body", "fail", f"{told}: {'413' if status == 413 else 'hung up'}"),
        f"In nginx put `client_max_body_size {-(-size // 1_000_000)}m;` into the server or the upload's location. "
        "Raise the limit of every other proxy and CDN in front too.",
        "A proxy in front takes smaller bodies than the site did before: nginx takes 1 MB unless told otherwise.",
    )


def _declared(site: Site, path: str, headers: dict[str, str], size: int) -> int:
    try:
        return site.declared("POST", path, headers, size, seconds=_REFUSAL_SECONDS)
    except ConnectionError:
        return _HUNG_UP
    except SILENCE:
        return 0


def _whole(site: Site, visitor: Visitor, path: str, headers: dict[str, str], size: int) -> int:
    """The status for the body itself. A proxy that refuses it may hang up before it has read all."""
    try:
        answer: Answer = site.ask("POST", path, {**headers, **visitor.proofs()}, b"\0" * size, seconds=120)
    except ConnectionError:
        return 413
    return 0 if judge(answer)[0] == "gated" else answer.status
