"""The site of docs/: it is whole, it loads nothing from elsewhere, and a dead address in it ends the build."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Final

import pytest
from markdown_it import MarkdownIt

from supply.site import Page, faults

pytestmark = pytest.mark.long

ROOT: Final = Path(__file__).parent.parent
DOCS: Final = ROOT / "docs"
PAGES: Final = sorted(path.relative_to(DOCS) for path in DOCS.rglob("*.md"))

#: What a page is built of, other than text.
BLOCKS: Final = ("h1", "h2", "h3", "h4", "ul", "ol", "li", "pre", "table", "tr", "blockquote", "img", "p")

#: The project's folders, and what in them is made by commands and kept by nobody.
FOLDERS: Final = sorted(path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith("."))
MADE: Final = [line.rstrip("/") for line in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()]


def copied(folder: Path) -> Path:
    """A folder with all that the site is made of."""
    shutil.copytree(DOCS, folder / "docs")
    shutil.copy(ROOT / "zensical.toml", folder)
    return folder


def built(folder: Path) -> subprocess.CompletedProcess[str]:
    """What `make docs` says of a folder."""
    command = [sys.executable, "-m", "supply.site", str(folder)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = copied(tmp_path_factory.mktemp("site"))
    done = built(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


def test_every_page_is_built_and_stands_in_the_navigation_once(site: Path) -> None:
    """No page of the tree is missing, and none is there that the tree does not have."""
    pages = {path.with_suffix(".html").as_posix() for path in PAGES}
    assert {path.relative_to(site).as_posix() for path in site.rglob("*.html")} == pages | {"404.html"}
    text = (site / "index.html").read_text(encoding="utf-8")
    navigation = text[text.index("md-nav--primary") : text.index("md-sidebar--secondary")]
    listed = re.findall(r'<a href="(?:\./)?([^"#]+)" class="md-nav__link', navigation)
    assert sorted(listed) == sorted(pages)


def test_every_page_can_be_found(site: Path) -> None:
    """The search knows each page."""
    known = {item["location"].partition("#")[0] for item in json.loads((site / "search.json").read_text())["items"]}
    assert known == {path.with_suffix(".html").as_posix() for path in PAGES}


def test_a_page_or_folder_that_the_order_names_and_nobody_has_ends_the_build(tmp_path: Path) -> None:
    """The order of the navigation names what there is."""
    folder = copied(tmp_path)
    order = folder / "docs" / ".nav.yml"
    order.write_text(order.read_text() + "  - gone.md\n")
    done = built(folder)
    assert done.returncode == 1
    assert "gone.md" in done.stdout + done.stderr


@pytest.mark.parametrize(
    "dead",
    [
        "[a page](gone.md)",
        "[a page in a folder](gone/page.md)",
        "[a heading here](#gone)",
        "[a heading of another page](explanation/architecture.md#gone)",
        "![a picture](pictures/gone.png)",
        "[a file](gone.txt)",
        "[a file of the project](../README.md)",
        "[what is no page](../pyproject.toml)",
        "[a folder](explanation/)",
        '<a href="gone.html">a page in HTML</a>',
        '<img src="gone.svg">',
    ],
)
def test_a_dead_address_ends_the_build(tmp_path: Path, dead: str) -> None:
    """Whatever is not there, and however it is written."""
    folder = copied(tmp_path)
    with (folder / "docs" / "index.md").open("a", encoding="utf-8") as page:
        page.write(f"\n{dead}\n")
    done = built(folder)
    assert done.returncode == 1, done.stdout
    (address,) = re.findall(r"""[("]([^("]*(?:gone|project|README|explanation)[^")]*)""", dead)
    assert address.removesuffix("/") in re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    """No page and no style names a script, style, picture or font of another host."""
    assert faults(site) == []
    for path in site.rglob("*.html"):
        page = Page(path.read_text(encoding="utf-8"))
        assert page.loaded
        assert [one for one in page.loaded if "//" in one and not one.startswith("data:")] == []
    styles = [path.read_text(encoding="utf-8") for path in site.rglob("*.css")]
    assert styles
    assert [found for style in styles for found in re.findall(r"(?:url\(|@import\s*)[\"']?https?://", style)] == []


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ('<script src="https://cdn.invalid/x.js"></script>', "https://cdn.invalid/x.js"),
        ('<link rel="stylesheet" href="//cdn.invalid/x.css">', "//cdn.invalid/x.css"),
        ('<link rel="preconnect" href="https://fonts.invalid">', "https://fonts.invalid"),
        ('<img src="http://cdn.invalid/x.png">', "http://cdn.invalid/x.png"),
    ],
)
def test_what_is_loaded_from_elsewhere_is_told(tmp_path: Path, content: str, fault: str) -> None:
    """The look at the built pages finds it."""
    (tmp_path / "index.html").write_text(content)
    assert faults(tmp_path) == [f"index.html: loaded from elsewhere: {fault}"]


@pytest.mark.parametrize("text", ["@import 'https://fonts.invalid/x';", "a { mask: url(https://fonts.invalid/x) }"])
def test_what_a_style_loads_from_elsewhere_is_told(tmp_path: Path, text: str) -> None:
    """The look at the styles finds it."""
    (tmp_path / "site.css").write_text(text)
    assert faults(tmp_path) == ["site.css: loaded from elsewhere: https://fonts.invalid/x"]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_a_page_has_the_same_blocks_wherever_it_is_read(site: Path, page: Path) -> None:
    """The site's Markdown wants an empty line before a list, and four spaces before what stands inside of one.

    Other readers of Markdown want less, so a page can look right there and fall apart on the site.
    """
    text = (DOCS / page).read_text(encoding="utf-8")
    elsewhere = MarkdownIt("commonmark").enable("table").render(text)
    article = (site / page.with_suffix(".html")).read_text(encoding="utf-8")
    here = article[article.index("<article") : article.index("</article>")]
    assert blocks(here) == blocks(elsewhere)


def blocks(html: str) -> Counter[str]:
    """How many of each kind of block there are."""
    return Counter(re.findall(rf"<({'|'.join(BLOCKS)})[ >]", html))


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    """What stands in code style and begins with a folder of the project is a file or folder of it."""
    text = re.sub(r"^ *```.*?^ *```", "", (DOCS / page).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    named = re.findall(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]*)`", text)
    kept = [path for path in named if not any(f"{path}/".startswith(f"{made}/") for made in MADE)]
    assert [path for path in kept if not (ROOT / path).exists()] == []
