"""The pages that nginx answers with by itself: the same words and look as waitroom's own, and small."""

from __future__ import annotations

import re
from functools import reduce
from pathlib import Path
from typing import Final

import pytest

from waitroom.web.page.plain import HEAD, PLAIN_CSP
from waitroom.web.refusals import refusal

NGINX: Final = Path(__file__).parents[2] / "deploy" / "nginx"

#: The most bytes of such a page.
MOST: Final = 1500


def mapped(name: str) -> str:
    """What that variable of waitroom-http.conf is set to."""
    found = re.search(
        rf"""map "" \${name} {{\n    default ('|")(.*)\1;\n}}""", (NGINX / "waitroom-http.conf").read_text()
    )
    assert found is not None
    return found[2]


def pages() -> dict[int, str]:
    """The HTML of nginx's pages by status, with the variables that hold no request's own."""
    text = (NGINX / "waitroom-locations.conf").read_text()
    found = re.findall(r"return (\d{3}) '(\$waitroom_plain_page.*)';", text)
    shared = ("waitroom_plain_page", "waitroom_plain_again")
    return {
        int(status): reduce(lambda text, name: text.replace(f"${name}", mapped(name)), shared, page)
        for status, page in found
    }


@pytest.mark.parametrize(("status", "wait"), [(401, ""), (403, ""), (503, "7")])
def test_both_say_the_same(status: int, wait: str) -> None:
    """nginx's page for a gate's answer is the middleware's, to the letter."""
    said = refusal(status, "shop", form="page", address="/", wait=wait.encode())
    page = pages()[status].replace("$waitroom_room", "shop").replace("$waitroom_retry_after", wait)
    assert page == said.body.decode()
    assert dict(said.headers)[b"content-security-policy"].decode() == PLAIN_CSP == mapped("waitroom_plain_policy")


def test_all_are_whole_small_and_under_the_policy() -> None:
    """Each begins with the shared head, has one main part and one heading, and the policy allows its style."""
    text = (NGINX / "waitroom-locations.conf").read_text()
    assert set(pages()) == {401, 403, 429, 503}
    assert text.count("default_type text/html;") == len(pages()) == text.count("Policy $waitroom_plain_policy always;")
    for status, page in pages().items():
        assert page.startswith(HEAD), status
        assert [page.count(tag) for tag in ("<main>", "<h1>", "<title>", "</html>")] == [1, 1, 1, 1]
        assert len(page) <= MOST
