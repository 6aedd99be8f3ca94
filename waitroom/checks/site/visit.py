"""The doctor's visitors: they take places as browsers do, and give every one of them back."""

from __future__ import annotations

import json
import secrets
import time
from base64 import urlsafe_b64decode
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from itertools import count
from typing import Any, Final

from waitroom.checks.site.ending import ENDING
from waitroom.checks.site.gate import CALL, PAGE, PROOF, ROBOT
from waitroom.checks.site.jar import Jar
from waitroom.checks.site.line import SILENCE, Answer, Site
from waitroom.model import ROOM_NAME

#: What a browser says of a call of the waiting page.
_SCRIPT: Final = {**CALL, "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Sec-Fetch-Site": "same-origin"}

#: Seconds that the doctor works at a challenge.
_WORK_SECONDS: Final = 30.0


def document(answer: Answer) -> dict[str, Any]:
    """The JSON object in an answer; empty where there is none."""
    try:
        found = json.loads(answer.body or b"")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def problem(answer: Answer) -> str:
    """The last part of the type of waitroom's problem document, or nothing."""
    kind = document(answer).get("type")
    return kind.removeprefix("urn:waitroom:") if isinstance(kind, str) and kind.startswith("urn:waitroom:") else ""


def claims(granted: str) -> dict[str, Any]:
    """What a pass says, unverified."""
    try:
        part = granted.split(".")[1]
        found = json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, IndexError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def room_of(granted: str) -> str:
    """The room that a pass is for, or nothing."""
    kind, _, room = str(claims(granted).get("aud", "")).partition(":")
    return room if kind == "waitroom" and ROOM_NAME.match(room) else ""


def told_time(text: object) -> float | None:
    """A time as waitroom writes it, in seconds since the epoch; None for what is none."""
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return None


def fresh(target: str) -> str:
    """The address with something in its query that no cache has seen."""
    return f"{target}{'&' if '?' in target else '?'}waitroom-doctor={secrets.token_hex(8)}"


def unseen() -> str:
    """An address of the site that no cache has seen, whatever it takes for the same."""
    return f"/waitroom-doctor-{secrets.token_hex(8)}"


class Places:
    """Every place that an answer has brought, until it is given back."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[Site, str]] = {}
        #: How many places came without a proof.
        self.unproved = 0
        self._returned: set[str] = set()

    @property
    def proofs(self) -> set[str]:
        """Every proof that was handed out until now."""
        return self._returned | self._held.keys()

    def note(self, site: Site, answer: Answer) -> None:
        """Remember the proofs that an answer hands out."""
        for cookie in answer.cookies:
            match = PROOF.match(cookie)
            if match:
                self._held[match["text"]] = (site, match["room"])
        text = answer.headers.get("x-waitroom-pass", "")
        if room := room_of(text):
            self._held[text] = (site, room)

    def note_document(self, site: Site, room: str, told: dict[str, Any]) -> None:
        """The same for a document, where cookies are kept back on the way."""
        for name in ("ticket", "pass"):
            if isinstance(told.get(name), str):
                self._held[told[name]] = (site, room)

    def leave(self) -> int:
        """Give them back; how many could not be."""
        stay, self.unproved = self.unproved, 0
        self._returned |= self._held.keys()
        for text, (site, room) in self._held.items():
            bearer = {**CALL, "Authorization": f"Bearer {text}"}
            try:
                answer = site.ask("POST", f"/v1/rooms/{room}/leave", bearer, b"")
                if answer.status == 401:
                    # The room may bind proofs to the User-Agent that they were given to.
                    answer = site.ask("POST", f"/v1/rooms/{room}/leave", {**bearer, **ROBOT}, b"")
            except SILENCE:
                stay += 1
            else:
                # 401 and 410: the place is gone already, or the proof is an older one of the same place.
                stay += answer.status not in (204, 401, 410)
        self._held.clear()
        return stay


@dataclass
class Visitor:
    """One browser in one room."""

    site: Site
    room: str
    places: Places
    jar: Jar = field(default_factory=Jar)
    told: dict[str, Any] = field(default_factory=dict)

    def enter(self) -> Answer:
        """Take a place as the waiting page's script does, with the work that a challenge asks for."""
        answer = self._call("POST", "enter")
        challenge = document(answer).get("challenge")
        if answer.status in (403, 429) and isinstance(challenge, dict):
            ENDING.rest()
            solution = _solution(challenge)
            if solution:
                answer = self._call("POST", "enter", {"X-Waitroom-Challenge": solution})
        if answer.status in (200, 202):
            self.told = document(answer)
        return answer

    def status(self, *cookies: str, past_caches: bool = False) -> Answer:
        """Where it stands, as its cookies tell; claims an offer."""
        answer = self._call("GET", fresh("status") if past_caches else "status", self.jar.line(*cookies))
        if answer.status == 200:
            self.told = document(answer)
        return answer

    def go(self, target: str) -> Answer:
        """Open a page, as a browser does."""
        return self._open(target, self.jar.line())

    def go_inside(self, target: str) -> Answer:
        """Open a page with what proves it best: this is about the page."""
        return self._open(target, self.proofs())

    def _open(self, target: str, proofs: dict[str, str]) -> Answer:
        answer = self.site.ask("GET", target, {**PAGE, **proofs})
        self._take(answer)
        return answer

    def proofs(self, *cookies: str) -> dict[str, str]:
        """Headers by which the gate knows it: its cookies, or its pass as clients without cookies bring it."""
        shown = {} if self.jar.kept or not self.admitted else {"X-Waitroom-Pass": self.bearer}
        return {**self.jar.line(*cookies), **shown}

    @property
    def admitted(self) -> bool:
        """Whether it holds a pass."""
        return self.told.get("state") == "admitted"

    @property
    def who(self) -> object:
        """What tells this visitor from others: the serial, or whose pass it is."""
        return claims(str(self.told.get("pass", ""))).get("sub") if self.admitted else self.told.get("serial")

    @property
    def bearer(self) -> str:
        """Its proof."""
        return str(self.told.get("pass") or self.told.get("ticket") or "")

    def _call(self, method: str, verb: str, headers: dict[str, str] | None = None) -> Answer:
        path = f"/v1/rooms/{self.room}/{verb}"
        answer = self.site.ask(method, path, {**_SCRIPT, **(headers or {})}, b"" if method == "POST" else None)
        self._take(answer)
        self.places.note_document(self.site, self.room, document(answer))
        return answer

    def _take(self, answer: Answer) -> None:
        self.jar.take(self.site, answer)
        self.places.note(self.site, answer)


def _solution(challenge: dict[str, Any]) -> str:
    text, bits = str(challenge.get("text", "")), challenge.get("bits")
    length = challenge.get("seed_characters")
    if not isinstance(bits, int) or not isinstance(length, int) or not 0 < bits <= 32 or length < 1:
        return ""
    seed, until = text[-length:].encode() + b".", time.monotonic() + _WORK_SECONDS
    for number in count():
        if int.from_bytes(sha256(seed + b"%d" % number).digest()) >> (256 - bits) == 0:
            return f"{text}.{number}"
        if number % 10_000 == 0 and time.monotonic() > until:
            break
    return ""
