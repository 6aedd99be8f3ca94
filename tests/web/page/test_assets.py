"""The page's files, and what its headers allow."""

from __future__ import annotations

import re

import pytest

from waitroom.web.page.assets import ASSET_PATH, CSP, PAGE_HEADERS, assets
from waitroom.web.page.wording import Wording

ASSETS = assets(Wording())


def test_the_policy_allows_no_inline_code() -> None:
    """Every page's headers carry the policy, which names no unsafe source and forbids framing."""
    assert PAGE_HEADERS["Content-Security-Policy"] == CSP
    assert "unsafe" not in CSP
    assert "default-src 'none'" in CSP
    assert "frame-ancestors 'none'" in CSP
    assert PAGE_HEADERS["Cache-Control"] == "no-store"


@pytest.mark.parametrize("name", sorted(ASSETS))
def test_an_asset_may_be_cached_for_a_year(name: str) -> None:
    """An asset's address holds a hash of its content, which is its entity tag too."""
    asset = ASSETS[name]
    assert asset.url == f"{ASSET_PATH}{name}?v={asset.etag.strip(chr(34))}"
    assert "max-age=31536000" in asset.headers["Cache-Control"]
    assert asset.body


@pytest.mark.parametrize("name", ["--ink", "--quiet"])
def test_text_stands_out_in_light_and_dark(name: str) -> None:
    """Each text colour has a contrast of at least 4.5 to 1 against the paper in both schemes."""
    css = ASSETS["wait.css"].body.decode()
    texts, papers = (re.findall(rf"{key}: (#\w{{6}});", css) for key in (name, "--paper"))
    assert len(texts) == len(papers) == 2
    for text, paper in zip(texts, papers, strict=True):
        assert contrast(text, paper) >= 4.5


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours by the WCAG's formula."""
    dark, light = sorted(luminance(colour) for colour in (one, other))
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
