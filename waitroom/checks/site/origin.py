"""Whether the origin is told the address that visitors use: scheme, host and port show in what it answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Final
from urllib.parse import quote, urljoin, urlsplit

from waitroom.checks.finding import Finding
from waitroom.checks.site.gate import judge
from waitroom.checks.site.line import SILENCE, Answer, Site
from waitroom.checks.site.seen import Sights
from waitroom.checks.site.visit import Visitor

#: Redirects that are followed for each address.
_MOST_REDIRECTS: Final = 6

#: Characters of an address that a browser leaves as they are, beside letters and digits.
_AS_IT_IS: Final = "!#$%&'()*+,/:;=?@[]~-._"

_SCHEME: Final = (
    "The origin is told another scheme than visitors use: behind a proxy that ends TLS, nginx's own $scheme is http.",
    "Name that proxy in waitroom-proxies.conf, let it send X-Forwarded-Proto, and let the origin believe that header.",
)
_PORT: Final = (
    "The origin is told the host without the port that visitors use.",
    "Take waitroom-origin.conf as it is shipped. A proxy in front must pass on Host with the port.",
)
_HOST: Final = (
    "The origin is told another host than visitors use.",
    "Take waitroom-origin.conf as it is shipped, and include it where the origin is asked.",
)
_NAME_ONE: Final = "Name an address that the origin answers with a redirect or with links: --path /account."
_DOWN: Final = (
    "The gate let a visitor go on, and the origin did not answer.",
    "See that the origin runs, and that the upstream in nginx (`upstream shop_origin`) has its address and port.",
)


def examine(site: Site, visitor: Visitor | None, targets: Sequence[str], sights: Sights) -> Finding:
    """Go to each address with a pass, as far as redirects lead, and look at every address in the answers."""
    lost: list[tuple[str, tuple[str, str]]] = []
    named = 0
    if visitor is not None and visitor.admitted:
        try:
            for target in targets:
                found, seen = _follow(site, visitor, target)
                lost += found
                named += seen
        except SILENCE as error:
            return Finding("origin", "unknown", f"no answer to a visitor with a pass: {error}", "Ask again.")
    if lost:
        detail = "; ".join(dict.fromkeys(told for told, _ in lost))
        cause, remedy = lost[0][1]
        return Finding("origin", "fail", detail, remedy, cause)
    return _by_instances(site, sights, named, asked=visitor is not None and visitor.admitted)


def _by_instances(site: Site, sights: Sights, named: int, *, asked: bool) -> Finding:
    schemes = {str(sight.told["scheme"]) for sight in sights.seen} - {""}
    if schemes and schemes != {site.scheme}:
        told = f"visitors come by {site.scheme}, and the proxy tells the instances {', '.join(sorted(schemes))}"
        return Finding(
            "origin", "fail", f"{told}; the origin is told the same where nothing else is set", _SCHEME[1], _SCHEME[0]
        )
    if named:
        return Finding(
            "origin", "ok", f"{named} addresses of the site in the origin's answers, all as visitors use them"
        )
    hosts = {str(sight.told["host"]) for sight in sights.seen} - {""}
    if hosts and hosts != {site.authority}:
        told = f"visitors ask for {site.authority}, and the proxy tells the instances {', '.join(sorted(hosts))}"
        if {urlsplit(f"//{host}").hostname for host in hosts} == {site.host}:
            return Finding("origin", "unknown", f"{told}; no answer of the origin tells what it is told", _NAME_ONE)
        return Finding("origin", "warn", f"{told}; the origin may be told the same", _HOST[1], _HOST[0])
    if schemes and asked:
        return Finding(
            "origin",
            "ok",
            f"the proxy tells {site.scheme} and {site.authority}; no answer of the origin names an address",
        )
    if not asked:
        remedy = "Ask while the room admits visitors at once: while it is open and its queue is short."
        return Finding("origin", "unknown", "no visitor was admitted, so the origin was not seen", remedy)
    remedy = f"{_NAME_ONE} Or give the admin key."
    return Finding("origin", "unknown", "no answer of the origin names an address of the site", remedy)


def _follow(site: Site, visitor: Visitor, target: str) -> tuple[list[tuple[str, tuple[str, str]]], int]:
    """What is lost on the way to an address, and how many addresses of the site were named."""
    lost: list[tuple[str, tuple[str, str]]] = []
    seen, at, named = {target}, target, 0
    for _ in range(_MOST_REDIRECTS):
        answer = visitor.go_inside(at)
        if judge(answer)[0] == "gated" and not judge(answer)[2]:
            return lost, named
        if answer.status in (502, 504):
            return [*lost, (f"{at} with a pass: {answer.status}", _DOWN)], named
        location = answer.headers.get("location", "") if 300 <= answer.status < 400 else ""
        if not location:
            found, number = _links(site, at, answer)
            return [*lost, *found], named + number
        try:
            named += bool(urlsplit(location).netloc)
            onward = urlsplit(urljoin(site.origin + at, location))
        except ValueError:
            return lost, named  # the page's own affair
        if why := _lost(site, location):
            return [*lost, (f"{at} leads to {location}", why)], named
        if (onward.hostname or "") != site.host:
            return lost, named
        at = (onward.path or "/") + (f"?{onward.query}" if onward.query else "")
        # As a browser does with what is not ASCII.
        at = quote(at, safe=_AS_IT_IS, encoding="latin-1", errors="replace")
        if at in seen:
            # To the same address again, for ever: the origin wants a scheme that it is not told.
            return [*lost, (f"{at} leads to itself ({location})", _SCHEME)], named
        seen.add(at)
    return lost, named


def _lost(site: Site, url: str) -> tuple[str, str] | None:
    """What an address of the origin has lost of the visitor's, or None."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        return None
    if not host or parts.scheme not in ("", "http", "https"):
        return None
    if host != site.host.lower():
        return _HOST if _internal(host) and not _internal(site.host) else None
    scheme = parts.scheme or site.scheme
    if scheme != site.scheme:
        return _SCHEME
    return _PORT if (port or {"http": 80, "https": 443}[scheme]) != site.port else None


def _internal(host: str) -> bool:
    """Whether no visitor has that host: a name without a dot, or an address that is not public."""
    try:
        return not ip_address(host).is_global
    except ValueError:
        return "." not in host or host.endswith((".internal", ".local", ".localhost"))


def _links(site: Site, at: str, answer: Answer) -> tuple[list[tuple[str, tuple[str, str]]], int]:
    """The site's own addresses in a page. A single wrong one among right ones is the page's own affair."""
    kind = answer.headers.get("content-type", "")
    if not kind.startswith(("text/", "application/json", "application/xhtml", "application/xml")):
        return [], 0
    pattern = rf"https?:\\?/\\?/{re.escape(site.host)}(?::\d+)?(?![\w.-])"
    found = [url.replace("\\", "") for url in re.findall(pattern, answer.text, re.IGNORECASE)]
    wrong = [(url, why) for url in found if (why := _lost(site, url))]
    if wrong and len(wrong) == len(found):
        return [(f"{at} names the site as {wrong[0][0]}", wrong[0][1])], 0
    return [], len(found) - len(wrong)
