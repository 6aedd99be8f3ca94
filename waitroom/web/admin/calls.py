"""A call of the admin API: the key first, then what is to be done, then the answer."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.types import Receive, Scope, Send

from waitroom.web.admin.key import AdminKey
from waitroom.web.headers import Header
from waitroom.web.wire import respond

logger = logging.getLogger(__name__)

#: A status, a document or None, and headers.
Answer = tuple[int, Any, tuple[Header, ...]]
Handler = Callable[[Scope, Receive], Awaitable[Answer]]


class AdminCall:
    """An endpoint that does what `handle` does, for operators with the key."""

    def __init__(self, key: AdminKey, handle: Handler) -> None:
        self._key = key
        self._handle = handle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The handler's answer. Raises Problem without the key."""
        self._key.check(scope)
        status, document, headers = await self._handle(scope, receive)
        if scope["method"] not in ("GET", "HEAD"):
            # A call that succeeded was about a room with a valid name: nothing in the path needs to be escaped.
            logger.info("admin: %s %s: %d", scope["method"], scope["path"], status)
        await respond(send, status, b"" if document is None else orjson.dumps(document), headers=headers)
