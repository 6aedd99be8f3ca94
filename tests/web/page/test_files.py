"""The files of the waiting page, as they are served."""

from __future__ import annotations

import pytest

from tests.web.sites import Site, assert_problem
from waitroom.web.page.assets import ASSET_PATH, assets
from waitroom.web.page.wording import Wording

ASSETS = assets(Wording())


CODINGS = pytest.mark.parametrize(
    ("accepted", "packed"), [("identity", False), ("br, GZIP;q=0.5", True), ("gzip;q=0", False)]
)


@CODINGS
@pytest.mark.parametrize("name", ASSETS)
def test_a_file_of_the_page_is_served_for_good(site: Site, name: str, accepted: str, *, packed: bool) -> None:
    """Each file comes with its type and ETag, cacheable for ever under its address, compressed where that is taken."""
    asset = ASSETS[name]
    answer = site.call("GET", asset.url, headers={"Accept-Encoding": accepted})
    assert (answer.status_code, answer.content) == (200, asset.body)
    assert answer.headers.get("content-encoding") == ("gzip" if packed else None)
    for header, value in (asset.headers | {"ETag": asset.sent(packed=packed)[1]}).items():
        assert answer.headers.get_list(header) == [value]


@CODINGS
@pytest.mark.parametrize("name", ASSETS)
def test_an_unchanged_file_is_not_sent_again(site: Site, name: str, accepted: str, *, packed: bool) -> None:
    """If-None-Match with its ETag gets 304 without a body, with the ETag and without a false length."""
    asset = ASSETS[name]
    body, etag = asset.sent(packed=packed)
    answer = site.call("GET", asset.url, headers={"If-None-Match": etag, "Accept-Encoding": accepted})
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
    # RFC 9110, 8.6: a length other than the file's must not be told.
    assert answer.headers.get("content-length") in (None, str(len(body)))
    assert site.call("GET", asset.url, headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    "name", ["nothing.js", "wait.html", "..%2fwait.js", "%2e%2e%2ftemplates%2fwait.html", "WAIT.js"]
)
def test_nothing_else_is_served(site: Site, name: str) -> None:
    """A name that is no file of the page is 404, wherever it points."""
    assert_problem(site.call("GET", f"{ASSET_PATH}{name}"), 404)


@pytest.mark.parametrize("version", ["", "?v=", "?v=0000000000000000", "?w={}", "?v={}&x=1"])
def test_only_the_content_that_was_asked_for_is_kept(site: Site, version: str) -> None:
    """Under an address that names another version, as in the middle of an upgrade, nothing is kept for a year."""
    path, _, query = ASSETS["wait.js"].url.partition("?")
    answer = site.call("GET", path + version.format(query.partition("=")[2]))
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-cache")
