"""`make docs`: the site that Zensical makes of docs/, and a second look at what it made.

Zensical ends the build at a link to a page or a heading that is not there. It lets other dead addresses pass: pictures,
files that are no pages, links written in HTML. So every address in the built pages is looked up in the built folder.
Nothing that a browser loads by itself may come from elsewhere.
"""

from __future__ import annotations

import re
import sys
import tomllib
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import zensical

ROOT: Final = Path(__file__).parent.parent

#: What a browser loads without being asked, by tag and attribute. A link is loaded where its `rel` is one of these.
_LOADED: Final = {("img", "src"), ("script", "src"), ("iframe", "src"), ("source", "src"), ("source", "srcset")}
_LOADED_LINKS: Final = {"stylesheet", "icon", "preload", "modulepreload", "prefetch", "preconnect", "manifest"}

_STYLE_ADDRESS: Final = re.compile(r"""(?:url\(\s*["']?|@import\s+["'])((?:https?:)?//[^"')\s]+)""")


@dataclass
class Page(HTMLParser):
    """A built page: the ids in it, the addresses that it names, and those that a browser loads by itself."""

    text: str
    ids: set[str] = field(default_factory=set)
    addresses: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what the tag names."""
        named = {name: value or "" for name, value in attrs}
        self.ids |= {named[key] for key in ("id", "name") if key in named}
        links = {named.get("rel", "")} if tag == "link" else set()
        for key, value in named.items():
            if (tag, key) in _LOADED or (key == "href" and links & _LOADED_LINKS):
                self.loaded.append(value)
            if key in ("href", "src"):
                self.addresses.append(value)


def main() -> int:
    """Build the site of the folder named on the command line, or of this project; the exit code."""
    folder = Path(sys.argv[1]).resolve() if sys.argv[1:] else ROOT
    configuration = folder / "zensical.toml"
    try:
        zensical.build(str(configuration), {"clean": True, "strict": True})
    except RuntimeError as error:
        sys.stderr.write(f"no site: {error}\n")
        return 1
    site = folder / tomllib.loads(configuration.read_text(encoding="utf-8"))["project"]["site_dir"]
    found = faults(site)
    for fault in found:
        sys.stderr.write(f"{fault}\n")
    sys.stdout.write(f"{len(found)} faults in the built pages\n" if found else f"the site: {site}/index.html\n")
    return 1 if found else 0


def faults(site: Path) -> list[str]:
    """What is wrong with a built site: dead addresses, and what would be loaded from elsewhere."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    found = [
        f"{path.relative_to(site)}: {fault}: {address}"
        for path, page in pages.items()
        for address in page.addresses
        if (fault := _fault(site, path, address, pages))
    ]
    found += [
        f"{path.relative_to(site)}: loaded from elsewhere: {address}"
        for path, page in pages.items()
        for address in page.loaded
        if urlsplit(address).netloc
    ]
    found += [
        f"{path.relative_to(site)}: loaded from elsewhere: {address}"
        for path in sorted(site.rglob("*.css"))
        for address in _STYLE_ADDRESS.findall(path.read_text(encoding="utf-8"))
    ]
    return found


def _fault(site: Path, path: Path, address: str, pages: dict[Path, Page]) -> str:
    """What is wrong with an address that a page names; nothing is said of other hosts."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return ""
    relative = unquote(parts.path)
    target = site / relative.lstrip("/") if relative.startswith("/") else path.parent / relative if relative else path
    target = target.resolve()
    if not target.is_relative_to(site.resolve()):
        return "leads out of the site"
    if not target.is_file():
        return "nothing is there"
    if parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].ids:
        return "no such heading"
    return ""


if __name__ == "__main__":
    sys.exit(main())
