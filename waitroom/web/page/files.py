"""The files of the waiting page, as they are served."""

from __future__ import annotations

import re
from typing import Final

from starlette.types import Receive, Scope, Send

from waitroom.web.answers import Problem
from waitroom.web.headers import header
from waitroom.web.page.assets import Asset
from waitroom.web.page.rendering import Pages
from waitroom.web.wire import respond


class Files:
    """GET /wait/_assets/{name}"""

    def __init__(self, pages: Pages) -> None:
        self._assets = pages.assets

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """A file of the waiting page."""
        asset = self._assets.get(scope["path_params"]["name"])
        if asset is None:
            raise Problem(404, "not-found", "Not found")
        headers = [(name.lower().encode(), value.encode()) for name, value in asset.headers.items()]
        packed = _takes_gzip(header(scope, b"accept-encoding") or b"")
        body, etag = asset.sent(packed=packed)
        unchanged = header(scope, b"if-none-match") == etag.encode()
        lines = [line for line in headers if line[0] not in (b"cache-control", b"content-type", b"etag")]
        lines += [(b"etag", etag.encode()), *([(b"content-encoding", b"gzip")] if packed and not unchanged else [])]
        await respond(
            send,
            304 if unchanged else 200,
            b"" if unchanged else body,
            headers=lines,
            content_type=asset.content_type.encode(),
            # While instances are replaced one by one, a page of the newer version may ask an older one for its files:
            # what that one has must not be kept under the newer name.
            cache=next(line for line in headers if line[0] == b"cache-control")
            if _asks_for(scope, asset)
            else (b"cache-control", b"no-cache"),
        )


#: gzip by name, and not with a weight of zero (RFC 9110, 12.5.3).
_GZIP: Final = re.compile(rb"(?:^|,)\s*(?:x-)?gzip\s*(?!;\s*q=0(?:\.0*)?\s*(?:,|\Z))(?:;|,|\Z)", re.IGNORECASE)


def _takes_gzip(accepted: bytes) -> bool:
    return _GZIP.search(accepted) is not None


def _asks_for(scope: Scope, asset: Asset) -> bool:
    """Whether the address names this very content."""
    return bytes(scope["query_string"]) == asset.url.partition("?")[2].encode()
