"""Questions and answers: httpx below, documents and the client's own errors above."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx

from waitroom.client import documents
from waitroom.client.errors import (
    BadAnswer,
    ChallengeSet,
    ProofRefused,
    RoomClosed,
    RoomFull,
    ServerUnavailable,
    TokenRequired,
    TurnOver,
)
from waitroom.client.places import Place
from waitroom.errors import RoomUnknown, WaitroomError

#: Seconds until an answer must be there, unless the client is told otherwise.
TIMEOUT_SECONDS: Final = 5.0

#: Calls of one client that are under way at once, and so its connections.
MOST_AT_ONCE: Final = 100

#: Seconds that a connection is kept for the next call: less than servers keep theirs, which then close it under it.
_KEEPALIVE_SECONDS: Final = 2.0

_ROOM: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\Z", re.ASCII)


class Connection:
    """The way to the server at `url`, for any number of places at once."""

    def __init__(self, url: str, *, timeout_seconds: float, http: httpx.AsyncClient | None) -> None:
        self._url = _checked(url)
        self._timeout_seconds = timeout_seconds
        self._owned = http is None
        self._http = http or httpx.AsyncClient(
            headers={"User-Agent": "waitroom-client"},
            limits=httpx.Limits(max_connections=MOST_AT_ONCE, keepalive_expiry=_KEEPALIVE_SECONDS),
        )
        self._turns = asyncio.Semaphore(MOST_AT_ONCE)
        self._sending: set[asyncio.Task[httpx.Response]] = set()

    async def aclose(self, *, seconds: float) -> None:
        """Wait so long at most for what is under way, and close what is not the caller's own."""
        if self._owned:
            for sending in self._sending:
                sending.cancel()
        if self._sending:
            await asyncio.wait(self._sending, timeout=seconds)
        if self._owned:
            await self._http.aclose()

    async def place(
        self,
        method: str,
        room: str,
        action: str,
        proof: str | None,
        *,
        seconds: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Place:
        """The place that the answer to a call tells of, which takes `seconds` at most."""
        sent = time.monotonic()
        document = await self.ask(method, room, action, proof, seconds=seconds, headers=headers)
        try:
            place = (
                documents.waiting(document) if document["state"] == "waiting" else documents.admitted(document, sent)
            )
            if place.room != room:
                raise ValueError("room")
            return place
        except (LookupError, TypeError, ValueError) as error:
            # Not what stands there: it may be a proof.
            raise BadAnswer(f"{action} of room {room!r}: no document of a place ({type(error).__name__})") from None

    async def room(self, room: str) -> documents.Room:
        """What anybody may know of a room. It goes with nobody's proof, so that caches may answer."""
        document = await self.ask("GET", room, "", None)
        try:
            return documents.room(document)
        except (LookupError, TypeError, ValueError) as error:
            raise BadAnswer(f"room {room!r}: no document of a room ({type(error).__name__})") from None

    async def ask(
        self,
        method: str,
        room: str,
        action: str,
        proof: str | None,
        *,
        seconds: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """The document of a good answer, empty for 204; raises the error of any other."""
        if not _ROOM.match(room):
            raise RoomUnknown(f"there is no room {room!r}: a name has 1 to 64 of A-Z, a-z, 0-9, - and _")
        if proof is not None and not documents.PROOF.match(proof):
            raise ProofRefused("that is not a ticket or a pass")
        request = self._http.build_request(method, f"{self._url}/v1/rooms/{room}/{action}".rstrip("/"), headers=headers)
        # Cookies are for browsers: the room's would make one visitor of all places.
        request.headers.pop("Cookie", None)
        if proof is not None:
            request.headers["Authorization"] = f"Bearer {proof}"
        try:
            answer = await self._answer(request, self._timeout_seconds if seconds is None else seconds)
        except httpx.TransportError as error:
            raise ServerUnavailable(f"no answer: {str(error) or type(error).__name__}") from error
        except httpx.RequestError as error:
            raise BadAnswer(f"the answer cannot be read: {error}") from error
        if answer.status_code == 204:
            return {}
        document = _json(answer)
        if answer.status_code in (200, 202) and document is not None:
            return document
        raise _refusal(self._url, room, answer, document or {})

    async def _answer(self, request: httpx.Request, seconds: float) -> httpx.Response:
        """The answer to a request. Once begun, the request is never cancelled, but ends by itself: by cancelling it,
        httpcore may lose a connection of its pool for good (encode/httpcore, issue 1093).
        """
        request.extensions["timeout"] = httpx.Timeout(self._timeout_seconds).as_dict()
        seconds = min(seconds, self._timeout_seconds)
        try:
            async with asyncio.timeout(seconds):
                await self._turns.acquire()
                sending = asyncio.create_task(self._http.send(request, auth=None, follow_redirects=False))
                self._sending.add(sending)
                sending.add_done_callback(self._sent)
                return await asyncio.shield(sending)
        except TimeoutError:
            raise ServerUnavailable(f"no answer within {seconds:.3g} s") from None

    def _sent(self, sending: asyncio.Task[httpx.Response]) -> None:
        self._turns.release()
        self._sending.discard(sending)
        if not sending.cancelled():
            # Nobody may be there any more to hear of its error.
            sending.exception()


def _checked(url: str) -> str:
    """The URL without a final slash; raises ValueError. It is not shown: it may hold a password."""
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"url is not one: {error}") from None
    if address.scheme not in ("http", "https") or not address.host:
        raise ValueError("url must begin with http:// or https:// and a host")
    if address.userinfo or "?" in url or "#" in url:
        raise ValueError("url must be without user, password, query and fragment")
    return url.rstrip("/")


def _json(answer: httpx.Response) -> dict[str, Any] | None:
    try:
        document = answer.json()
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _refusal(url: str, room: str, answer: httpx.Response, document: dict[str, Any]) -> WaitroomError:
    """The error that an answer stands for. Only waitroom's own word counts against a place."""
    status = answer.status_code
    slug = str(document.get("type", "")).removeprefix("urn:waitroom:")
    said = str(document.get("detail") or document.get("title") or answer.reason_phrase)
    if (status, slug) == (410, "turn-over"):
        return TurnOver(said)
    if (status, slug) == (401, "no-proof"):
        return ProofRefused(said)
    if (status, slug) == (404, "room-unknown"):
        return RoomUnknown(f"there is no room {room!r} at {url}: make it with `waitroom room set {room} capacity=50`")
    if (status, slug) == (403, "closed"):
        return RoomClosed(room, str(document.get("detail", "")))
    if (status, slug) == (503, "full"):
        return RoomFull(said, _retry_after(answer))
    if (status, slug) == (403, "token-required"):
        return TokenRequired(room, str(document.get("enqueue_url", "")))
    challenge = document.get("challenge")
    if slug in ("challenge-required", "too-many-places") and isinstance(challenge, dict):
        text, bits = challenge.get("text"), challenge.get("bits")
        if isinstance(text, str) and isinstance(bits, int) and documents.PROOF.match(text):
            return ChallengeSet(said, _retry_after(answer), text, bits)
    if status in (408, 425, 429) or status >= 500:
        return ServerUnavailable(f"status {status}: {said}", _retry_after(answer))
    return BadAnswer(
        f"status {status} with {answer.headers.get('content-type', 'no content type')}: no word of waitroom"
    )


def _retry_after(answer: httpx.Response) -> float | None:
    """Seconds to stay away, from a number or a date; None if there is nothing to go by."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max((parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds(), 0.0)
    except (TypeError, ValueError):
        return None
