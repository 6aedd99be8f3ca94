"""Other sites and hostile texts, in a real browser: T18, T21, T22, T23 of docs/explanation/security.md."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from rig.instance import Instance, serving
from rig.origin import Answer, Seen, Stub, answering
from tests.browser.stage import ORIGIN, WAITING, Stage
from tests.browser.test_place import PATIENCE_MS, ROOM, Caller
from tests.browser.visitor import STEADY_PART, Visitor, rank_of, visiting

pytestmark = [pytest.mark.browser, pytest.mark.system, pytest.mark.timeout(120)]

#: The shop, another host of its site, and another site. Chromium takes all of them to this machine.
SHOP: Final = "shop.localhost"
SIBLING: Final = "blog.shop.localhost"
ELSEWHERE: Final = "evil.localhost"

PAYLOADS: Final = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg/onload=alert(1)>",
    "</script><script>alert(1)//",
    "</title></style></textarea><iframe srcdoc='<script>parent.alert(1)</script>'>",
    "<!--<a href=javascript:alert(1)>here</a>",
    "&lt;script&gt;alert(1)&lt;/script&gt; &#60;b&#62;",
    "{{7*7}} ${alert(1)} `${alert(1)}` #{7*7}",
    "<meta http-equiv=refresh content=0;url=//evil.localhost><base href=//evil.localhost/>",
    "<form action=//evil.localhost><button autofocus onfocus=alert(1)>",
    "\\u003cscript\\u003ealert(1)\\u003c/script\\u003e \\x3cb\\x3e",
)

#: The elements of a page, which no text may add to.
_SKELETON: Final = "() => [...document.querySelectorAll('*')].map((one) => one.tagName).join(' ')"


@contextmanager
def page_of(visitor: Visitor, served: Instance, *, returning: str = "/x") -> Iterator[Page]:
    """The waiting page of the shop."""
    page = visitor.context.new_page()
    page.goto(f"http://127.0.0.1:{served.port}/wait/shop?return={quote(returning, safe='')}")
    yield page
    page.close()


def test_a_message_is_never_markup(browser: Browser, tmp_path: Path) -> None:
    """Written by the server and, the last ones, by the script: the text is shown, and nothing else happens."""
    with serving(tmp_path, rooms={"shop": ROOM | {"state": "paused"}}) as served, visiting(browser) as visitor:
        served.operate("PATCH", "/admin/rooms/shop", {"message": "plain"})
        with page_of(visitor, served) as page:
            expect(page.locator("#message")).to_have_text("plain", timeout=PATIENCE_MS)
            skeleton = page.evaluate(_SKELETON)
            for number, payload in enumerate(PAYLOADS):
                served.operate("PATCH", "/admin/rooms/shop", {"message": payload})
                if number < len(PAYLOADS) - 3:
                    page.reload()
                expect(page.locator("#message")).to_have_text(payload, timeout=PATIENCE_MS)
                assert page.evaluate(_SKELETON) == skeleton
        assert visitor.complaints == []


def test_a_return_address_is_never_markup(browser: Browser, tmp_path: Path) -> None:
    """As it comes, behind a slash, behind a scheme, in a query: the page is as it always is, and leads nowhere else."""
    with serving(tmp_path, rooms={"shop": ROOM | {"state": "paused"}}) as served, visiting(browser) as visitor:
        with page_of(visitor, served) as page:
            skeleton = page.evaluate(_SKELETON)
        addresses = ("{}", "/{}", "javascript:alert(1)//{}")
        for number, payload in enumerate(PAYLOADS):
            asked = addresses[number % len(addresses)].format(payload) if number else "/?x=" + quote(payload)
            with page_of(visitor, served, returning=asked) as page:
                assert page.evaluate(_SKELETON) == skeleton
                assert page.evaluate("() => [...document.links].every((link) => link.origin === location.origin)")
        assert visitor.complaints == []


def test_no_page_can_frame_the_waiting_page(browser: Browser) -> None:
    """Neither another site's nor the shop's own; the browser itself says why."""
    with visiting(browser) as visitor:
        Stage(visitor, WAITING)
        for origin in ("http://evil.test", ORIGIN):
            visitor.context.route(f"{origin}/framing", _framing)
            page = visitor.context.new_page()
            page.goto(f"{origin}/framing")
            (inner,) = page.main_frame.child_frames
            inner.wait_for_url("chrome-error:**", timeout=PATIENCE_MS)
            assert inner.locator("#rank").count() == 0
        assert len([one for one in visitor.complaints if "frame-ancestors" in one]) == 2


def _framing(route: Route) -> None:
    route.fulfill(body=f"<iframe src='{ORIGIN}/wait/shop'></iframe>", content_type="text/html")


@contextmanager
def other_site(page: str, **headers: str) -> Iterator[Stub]:
    """A server whose every answer is that page."""

    def answer(_request: Seen) -> Answer:
        return Answer(200, {"Content-Type": "text/html", **headers}, page.encode())

    with answering(answer) as stub:
        yield stub


#: What a page can do to another without its consent, as far as browsers let it.
_FORGERIES: Final = """
async (target) => {
  const sent = [];
  const send = (path, more) =>
    sent.push(fetch(target + path, {mode: "no-cors", credentials: "include", ...more}).catch(() => {}));
  for (const call of ["leave", "enter"]) {
    send(`/v1/rooms/shop/${call}`, {method: "POST"});
    send(`/v1/rooms/shop/${call}`, {method: "POST", body: "{}", headers: {"Content-Type": "text/plain"}});
    send(`/v1/rooms/shop/${call}`, {method: "POST", body: new URLSearchParams({a: 1})});
    send(`/v1/rooms/shop/${call}`, {mode: "cors", method: "POST", body: "{}",
      headers: {"Content-Type": "application/json"}});
    navigator.sendBeacon(target + `/v1/rooms/shop/${call}`, "{}");
  }
  send("/admin/rooms/shop/close", {method: "POST"});
  send("/admin/rooms/shop", {mode: "cors", method: "DELETE"});
  await Promise.all(sent);
  for (const call of ["leave", "enter"]) {
    const frame = document.createElement("iframe");
    frame.name = call;
    const form = document.createElement("form");
    Object.assign(form, {method: "POST", action: target + `/v1/rooms/shop/${call}`, target: call});
    document.body.append(frame, form);
    await new Promise((loaded) => { frame.onload = loaded; form.submit(); });
  }
  for (const tag of ["img", "iframe", "script"]) {
    const element = document.createElement(tag);
    await new Promise((over) => {
      element.onload = element.onerror = over;
      element.src = target + "/wait/shop";
      document.body.append(element);
    });
  }
}
"""


@pytest.mark.parametrize("attacker", [ELSEWHERE, SIBLING])
def test_another_page_acts_for_nobody(browser: Browser, tmp_path: Path, attacker: str) -> None:
    """Forms, fetches and beacons of another site and of a sibling host: no place is lost and none is drawn."""
    with (
        serving(tmp_path, rooms={"shop": ROOM}) as served,
        visiting(browser) as visitor,
        other_site("<!doctype html><title>another</title><body>") as site,
    ):
        shop = f"http://{SHOP}:{served.port}"
        Caller(served)
        page = visitor.context.new_page()
        page.goto(f"{shop}/wait/shop")
        assert rank_of(page) == 1
        place = steady(visitor)
        other = visitor.context.new_page()
        other.goto(f"http://{attacker}:{site.port}/")
        other.evaluate(_FORGERIES, shop)
        # By a form that takes the whole page along, which is when browsers are most generous with cookies.
        with other.expect_navigation():
            other.evaluate(
                "(action) => { const form = document.createElement('form'); form.method = 'POST'; "
                "form.action = action; document.body.append(form); form.submit(); }",
                f"{shop}/v1/rooms/shop/leave",
            )
        page.reload()
        assert rank_of(page) == 1
        expect(page.locator("#waiting")).to_have_text("1 person")
        assert steady(visitor) == place
        assert Caller(served).rank == 2


def steady(visitor: Visitor) -> dict[str, str]:
    """The visitor's proofs, as far as they say whose place it is."""
    return {name: text[:STEADY_PART] for name, text in visitor.proofs().items()}


_TOSSED: Final = "k1." + "A" * 88


def _toss(name: str) -> str:
    cookie = f"{name}={_TOSSED}; domain={SHOP}; path=/"
    return f"<script>document.cookie = '{cookie}'; document.cookie = '{cookie}; Secure'</script>"


@pytest.mark.parametrize(
    ("public", "prefix", "planted"), [(f"https://{SHOP}", "__Host-waitroom_", False), ("", "waitroom_", True)]
)
def test_a_sibling_host_plants_no_ticket_under_https(
    browser: Browser, tmp_path: Path, public: str, prefix: str, planted: bool
) -> None:
    """By script and by header. Without https nothing keeps it out: the second case shows that the first could fail."""
    name = f"{prefix}ticket_shop"
    tossing = {"Set-Cookie": f"{name}={_TOSSED}; Domain={SHOP}; Path=/{'; Secure' if public else ''}"}
    variables: dict[str, Any] = {"WAITROOM_PUBLIC_URL": public} if public else {}
    with (
        serving(tmp_path, rooms={"shop": ROOM}, **variables) as served,
        visiting(browser) as visitor,
        other_site(_toss(name), **tossing) as site,
    ):
        visitor.context.new_page().goto(f"http://{SIBLING}:{site.port}/")
        assert (_TOSSED in values_of(visitor, name)) is planted
        if planted:
            return
        Caller(served)
        page = visitor.context.new_page()
        page.goto(f"http://{SHOP}:{served.port}/wait/shop")
        assert rank_of(page) == 1
        assert len(values_of(visitor, name)) == 1
        visitor.context.new_page().goto(f"http://{SIBLING}:{site.port}/")
        page.reload()
        assert rank_of(page) == 1
        assert _TOSSED not in values_of(visitor, name)


def values_of(visitor: Visitor, name: str) -> list[str]:
    """What the browser holds under a cookie's name, for whichever host."""
    return [cookie.get("value", "") for cookie in visitor.context.cookies() if cookie.get("name") == name]
