"""The files that the waiting page loads, and the headers that say what it may load."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType
from typing import Final

from waitroom.web.page.wording import Wording

#: Where the application has to serve the files. No room can have this name.
ASSET_PATH: Final = "/wait/_assets/"

#: Everything comes from our own files, nothing inline. No page may put this one into a frame.
CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)

#: Headers of every answer that carries a page, with any status.
PAGE_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Content-Security-Policy": CSP,
        "Cache-Control": "no-store",
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    }
)

_STYLE: Final = "text/css; charset=utf-8"
_SCRIPT: Final = "text/javascript; charset=utf-8"


@dataclass(frozen=True)
class Asset:
    """A file of the page: its bytes, the same by gzip, and what to say about them. `url` changes with the content."""

    body: bytes
    packed: bytes
    content_type: str
    etag: str
    url: str

    @property
    def headers(self) -> dict[str, str]:
        """The response headers. A year of caching is safe under `url` only."""
        return {
            "Content-Type": self.content_type,
            "ETag": self.etag,
            "Cache-Control": "public, max-age=31536000, immutable",
            "Vary": "Accept-Encoding",
            "X-Content-Type-Options": "nosniff",
        }

    def sent(self, *, packed: bool) -> tuple[bytes, str]:
        """The bytes and their ETag: what is compressed is another representation (RFC 9110, 8.8.3)."""
        return (self.packed, f'{self.etag[:-1]}-gzip"') if packed else (self.body, self.etag)


def assets(wording: Wording) -> Mapping[str, Asset]:
    """The page's files by name. The script gets its sentences as a file too: it can be cached, the page cannot."""
    sentences = f"globalThis.waitroomStrings = {json.dumps(dict(wording.sentences))};\n"
    made = {
        "wait.css": (_STYLE, _read("wait.css")),
        "wait.js": (_SCRIPT, _read("live.js") + _read("wait.js")),
        "work.js": (_SCRIPT, _read("work.js")),
        "strings.js": (_SCRIPT, sentences.encode()),
    }
    return MappingProxyType({name: _asset(name, kind, body) for name, (kind, body) in made.items()})


def _read(name: str) -> bytes:
    """The file without the comments that have lines of their own, and without indentation: a third of its bytes."""
    text = (resources.files("waitroom.web.page") / "assets" / name).read_text(encoding="utf-8")
    return re.sub(r"^ *(?://[^\n]*|/\*.*?\*/)?\n|^ +", "", text, flags=re.MULTILINE | re.DOTALL).encode()


def _asset(name: str, content_type: str, body: bytes) -> Asset:
    digest = hashlib.sha256(body).hexdigest()[:16]
    packed = gzip.compress(body, 9, mtime=0)
    return Asset(body, packed, content_type, f'"{digest}"', f"{ASSET_PATH}{name}?v={digest}")
