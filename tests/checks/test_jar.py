"""Which cookies a browser keeps, and by which rule it drops the others."""

from __future__ import annotations

import pytest

from waitroom.checks.site.jar import Jar
from waitroom.checks.site.line import Answer, Site

HTTPS = Site("https", "shop.example.com", 443)
HTTP = Site("http", "shop.example.com", 80)
HOST = "__Host-waitroom_pass_shop=x; Path=/"


@pytest.mark.parametrize(
    ("site", "line", "rule"),
    [
        (HTTPS, f"{HOST}; Secure; HttpOnly; SameSite=Lax", ""),
        (HTTP, "a=x; Path=/; Max-Age=60", ""),
        (HTTP, "a=x; path=/; domain=.example.com", ""),
        (HTTP, "a=x; Path=/; Domain=shop.example.com", ""),
        (HTTP, "a=x; Path=/; Secure", "secure"),
        (HTTP, HOST, "secure"),
        (HTTPS, f"{HOST}; Secure; Domain=shop.example.com", "domain"),
        (HTTPS, HOST, "prefix"),
        (HTTPS, "a=x; Path=/; Domain=other.example", "domain"),
        (HTTPS, "a=x; Path=/; Domain=com", "domain"),
        (HTTPS, "a=x; Path=/; Domain=p.example.com", "domain"),
        (Site("http", "192.0.2.7", 80), "a=x; Path=/; Domain=2.7", "domain"),
        (HTTPS, "a=x; Path=/wait/", "path"),
        (HTTPS, "a=x", "path"),
        (HTTPS, "a=x; Path=/; SameSite=None", "same-site"),
        (HTTPS, "a=x; Path=/; SameSite=None; Secure", ""),
        (HTTPS, f"a={'x' * 4096}; Path=/", "size"),
    ],
)
def test_a_cookie_is_kept_or_dropped_by_a_rule(site: Site, line: str, rule: str) -> None:
    """What is kept comes back; what is not has its rule."""
    jar = Jar()
    jar.take(site, Answer(200, cookies=(line,)))
    assert [refusal.rule for refusal in jar.refused] == ([rule] if rule else [])
    assert bool(jar.line()) == (not rule)


@pytest.mark.parametrize("end", ["Max-Age=0", "Max-Age=-1", "Expires=Thu, 01 Jan 1970 00:00:00 GMT"])
def test_a_cookie_is_taken_back(end: str) -> None:
    """Once it is over it does not come back."""
    jar = Jar()
    jar.take(HTTP, Answer(200, cookies=("a=x; Path=/", "b=y; Path=/")))
    assert jar.line("c=z") == {"Cookie": "a=x; b=y; c=z"}
    jar.take(HTTP, Answer(204, cookies=(f"a=; Path=/; {end}",)))
    assert jar.line() == {"Cookie": "b=y"}
