"""The waiting page as bytes."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from html.parser import HTMLParser
from typing import get_args

import pytest

from waitroom.web.page.address import join_address
from waitroom.web.page.rendering import Page, Pages, Situation

PAGES = Pages()
ASSETS, WORDS = PAGES.assets, PAGES.wording
NOON = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)
SITUATIONS: tuple[Situation, ...] = get_args(Situation)
NASTY = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "{{7*7}} {% raw %} ${x}",
    '" onclick="alert(1)" x=\'',
    "&lt;b&gt; &amp;",
    "</main></title><!--",
]


class Markup(HTMLParser):
    """The tags of a document in order, each with its attributes, and the texts by the id around them."""

    def __init__(self, html: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self._open = ""
        self.feed(html.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = dict(attrs).get("id") or tag

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        self.texts[self._open] = self.texts.get(self._open, "") + data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def by_id(self, name: str) -> dict[str, str | None]:
        return next(attributes for _, attributes in self.tags if attributes.get("id") == name)


def waiting() -> Page:
    return Page(
        room="shop",
        situation="waiting",
        return_to="/basket?step=2",
        as_of=NOON,
        poll_after_seconds=5.2,
        ticket_seconds=3600,
        rank=1234,
        serial=1_767_355_200_000_000,
        latest_poll_seconds=60.0,
        waiting=56789,
        eta_seconds=300.0,
        eta_low_seconds=241.0,
        eta_high_seconds=350.0,
        entered_at=NOON,
    )


def in_situation(situation: Situation) -> Page:
    return replace(waiting(), situation=situation)


@pytest.mark.parametrize("situation", SITUATIONS)
def test_every_situation_is_a_whole_page(situation: Situation) -> None:
    """Each situation has a language, one heading with words in it, one main landmark and its own headline."""
    page = Markup(PAGES.render(in_situation(situation)))
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == len(page.all("main")) == len(page.all("header")) == 1
    assert page.texts["lead"] == WORDS[f"headline_{situation}"]
    assert page.texts["state"] == WORDS[f"state_{situation}"]
    assert page.by_id("main")["data-situation"] == situation


@pytest.mark.parametrize("situation", SITUATIONS)
def test_ids_are_unique(situation: Situation) -> None:
    """No id is given twice, and every reference to one has its target."""
    page = Markup(PAGES.render(in_situation(situation)))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.tags:
        for name in ("aria-labelledby", "aria-describedby"):
            assert attributes.get(name, ids[0]) in ids


@pytest.mark.parametrize("situation", SITUATIONS)
def test_nothing_is_inline(situation: Situation) -> None:
    """Scripts and styles come from the page's own assets only, as the content security policy demands."""
    page = Markup(PAGES.render(replace(in_situation(situation), message=NASTY[0])))
    sources = [attributes.get("src") for attributes in page.all("script")]
    assert sources == [ASSETS["strings.js"].url, ASSETS["wait.js"].url]
    assert not page.all("style")
    for _, attributes in page.tags:
        assert "style" not in attributes
        assert not [name for name in attributes if name.startswith("on")]


@pytest.mark.parametrize("message", NASTY)
def test_a_message_is_only_text(message: str) -> None:
    """Whatever an operator writes comes out as that text and adds no element."""
    plain, nasty = PAGES.render(replace(waiting(), message="x")), PAGES.render(replace(waiting(), message=message))
    assert Markup(nasty).texts["message"] == message
    assert [tag for tag, _ in Markup(nasty).tags] == [tag for tag, _ in Markup(plain).tags]


@pytest.mark.parametrize("text", NASTY)
def test_a_return_address_stays_in_its_attribute(text: str) -> None:
    """A return address comes back whole from its attribute, and encoded from the address to join again."""
    page = Markup(PAGES.render(replace(waiting(), return_to="/" + text)))
    assert page.by_id("main")["data-return"] == "/" + text
    href = page.by_id("link")["href"] or ""
    assert href == join_address("shop", "/" + text)
    assert re.fullmatch(r"/wait/shop\?return=[A-Za-z0-9%._~-]+", href)
    assert len(page.tags) == len(Markup(PAGES.render(waiting())).tags)


def test_the_script_starts_from_what_the_server_knew() -> None:
    """The place in its attribute is the waiting document's fields, and no proof is among them."""
    place = json.loads(Markup(PAGES.render(waiting())).by_id("main")["data-place"] or "")
    assert place["rank"] == 1234
    assert place["entered_at"] == "2026-01-02T12:00:00.000+00:00"
    assert "ticket" not in place


def test_the_rank_leads_heading_and_title() -> None:
    """A waiting visitor reads their number, how many are ahead, the range, the crowd and for how long it keeps."""
    html = PAGES.render(waiting())
    page = Markup(html)
    assert page.texts["title"] == "1,233 ahead · shop"
    assert page.texts["rank"] == "1,234"
    assert page.texts["detail"] == "1,233 people are ahead of you."
    assert page.texts["eta"] == "between 4 and 6 minutes"
    assert page.texts["waiting"] == "56,789 people"
    assert b"come back within 1 hour" in html


@pytest.mark.parametrize(
    ("rank", "title", "detail"),
    [(1, "You are next · shop", "You are next."), (2, "1 ahead · shop", "1 person is ahead of you.")],
)
def test_the_head_of_the_queue_reads_well(rank: int, title: str, detail: str) -> None:
    """The first two places have their own grammar."""
    page = Markup(PAGES.render(replace(waiting(), rank=rank)))
    assert (page.texts["title"], page.texts["detail"]) == (title, detail)


@pytest.mark.parametrize("room_state", ["paused", "closed"])
def test_a_standing_queue_gives_its_reason(room_state: str) -> None:
    """Paused or closed, whoever waits keeps the number and reads why nothing moves; no wait is invented."""
    page = Markup(PAGES.render(replace(waiting(), room_state=room_state, message="Restocking.")))
    assert page.texts["rank"] == "1,234"
    assert page.texts["notice"] == WORDS[f"notice_{room_state}"]
    assert (page.texts["message-label"], page.texts["message"]) == ("Reason", "Restocking.")
    assert page.texts["eta"] == WORDS["eta_held"]
    assert page.texts["title"].startswith(WORDS[f"state_{room_state}"])


def test_without_a_rank_no_number_is_made_up() -> None:
    """A place whose rank cannot be read shows that the queue cannot be reached."""
    page = Markup(PAGES.render(replace(waiting(), rank=None)))
    assert page.texts["lead"] == WORDS["headline_unavailable"]
    assert "hidden" in page.by_id("rank")


def test_missing_figures_are_left_out() -> None:
    """An unknown crowd is not shown, an unknown wait is called so, and one figure serves as both bounds."""
    bare = replace(waiting(), waiting=None, eta_seconds=None, eta_low_seconds=None, eta_high_seconds=None)
    assert "waiting" not in Markup(PAGES.render(bare)).texts
    assert Markup(PAGES.render(bare)).texts["eta"] == WORDS["eta_unknown"]
    assert Markup(PAGES.render(replace(bare, eta_seconds=240.0))).texts["eta"] == "about 4 minutes"


@pytest.mark.parametrize(
    ("poll_after_seconds", "content"), [(5.2, "6"), (5.0, "5"), (0.2, "1"), (0.0, "1"), (29.01, "30")]
)
def test_the_page_refreshes_without_a_script(poll_after_seconds: float, content: str) -> None:
    """Without a script the page asks again after the time given, rounded up, by an address: without one a browser
    would not, if there is a part behind # in the page's own."""
    html = PAGES.render(replace(waiting(), poll_after_seconds=poll_after_seconds)).decode()
    assert f'<noscript><meta http-equiv="refresh" content="{content}; url=/wait/' in html.split("</head>")[0]


def test_a_turn_that_is_over_is_not_renewed_unasked() -> None:
    """Nobody joins again without choosing to: no refresh, but a link."""
    page = Markup(PAGES.render(in_situation("over")))
    assert not [attributes for attributes in page.all("meta") if attributes.get("http-equiv") == "refresh"]
    assert "hidden" not in page.by_id("way")
    assert "hidden" in page.by_id("stub")


def test_what_needs_a_script_is_hidden_without_one() -> None:
    """Leaving and the progress bar wait for the script that makes them work."""
    page = Markup(PAGES.render(waiting()))
    assert "hidden" in page.by_id("leave")
    assert "hidden" in page.by_id("course")


def test_the_time_is_utc_until_the_script_knows_better() -> None:
    """A time from another zone is shown and marked up in UTC."""
    elsewhere = datetime(2026, 1, 2, 14, 3, 4, 999999, tzinfo=timezone(timedelta(hours=2)))
    page = Markup(PAGES.render(replace(waiting(), as_of=elsewhere)))
    assert page.by_id("updated")["datetime"] == "2026-01-02T12:03:04+00:00"
    assert page.texts["updated"] == "12:03:04 UTC"


def test_the_script_uses_only_what_the_page_has() -> None:
    """Every element the script looks up is in the page, and every sentence it names in the table."""
    script = ASSETS["wait.js"].body.decode()
    tags = [tag for situation in SITUATIONS for tag in Markup(PAGES.render(in_situation(situation))).tags]
    ids = {attributes["id"] for _, attributes in tags if "id" in attributes}
    assert set(re.findall(r'(?:find|put)\("([\w-]+)"', script)) <= ids
    assert set(re.findall(r'words\("(\w+)"', script)) <= set(WORDS.sentences)
    for situation in (*SITUATIONS, "left", "cookie", "admitted"):
        assert {f"state_{situation}", f"headline_{situation}"} <= set(WORDS.sentences)
