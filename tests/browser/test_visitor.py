"""The other tests rely on a browser that complains: here it is given reasons to."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from tests.browser.stage import WAITING, Stage
from tests.browser.visitor import visiting

pytestmark = [pytest.mark.browser, pytest.mark.system, pytest.mark.timeout(60)]


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ("() => { const s = document.createElement('script'); s.text = '0'; document.body.append(s); }", "script-src"),
        ("() => document.body.setAttribute('style', 'color: red') ?? document.body.append(1)", "style-src"),
        ("() => { new Image().src = 'https://elsewhere.test/'; }", "img-src"),
        ("() => { setTimeout(() => { throw new Error('torn'); }); }", "torn"),
        ("() => console.error('cross')", "cross"),
        ("() => alert('boo')", "dialog: boo"),
    ],
)
def test_a_reason_to_complain_is_a_complaint(browser: Browser, script: str, complaint: str) -> None:
    """What the page's policy forbids, errors and dialogs are noted; the page itself gives no reason."""
    with visiting(browser) as visitor:
        page = Stage(visitor, WAITING).open()
        assert visitor.complaints == []
        page.evaluate(script)
        for _ in range(100):
            if any(complaint in one for one in visitor.complaints):
                return
            page.wait_for_timeout(20)
        pytest.fail(f"nobody complained: {visitor.complaints}")


def test_a_proof_within_reach_is_found(browser: Browser) -> None:
    """A ticket that stands in the page, or that a script can read, fails the check."""
    ticket = "k1." + "Ab3_" * 22
    with visiting(browser) as visitor:
        page = Stage(visitor, WAITING).open()
        visitor.context.add_cookies(
            [{"name": "waitroom_ticket_shop", "value": ticket, "url": page.url, "httpOnly": True, "sameSite": "Lax"}]
        )
        visitor.assert_proofs_are_out_of_reach(page)
        page.evaluate("(ticket) => sessionStorage.setItem('x', ticket)", ticket)
        with pytest.raises(AssertionError):
            visitor.assert_proofs_are_out_of_reach(page)
