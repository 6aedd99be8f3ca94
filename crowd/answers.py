"""An answer as a visitor takes it, and what of it belongs into the history; cookies as a browser keeps them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import orjson

from crowd.history import Outcome, clock
from crowd.proofs import noted


class Jar(dict[str, str]):
    """Cookies by name; what a server takes back is gone."""

    def store(self, lines: str | Sequence[str] | None) -> None:
        """Take over what `Set-Cookie` says."""
        for line in [lines] if isinstance(lines, str) else lines or ():
            pair, _, attributes = line.partition(";")
            name, _, value = pair.strip().partition("=")
            if "max-age=0" in attributes.lower().replace(" ", ""):
                self.pop(name, None)
            else:
                self[name] = value

    def header(self) -> dict[str, str]:
        """The header that carries them; none without any."""
        return {"Cookie": "; ".join(f"{name}={value}" for name, value in self.items())} if self else {}

    def proof(self, kind: str, room: str) -> str:
        """The room's ticket or pass, whatever its cookie's prefix; empty if there is none."""
        wanted = f"waitroom_{kind}_{room}"
        return next((value for name, value in self.items() if name.endswith(wanted)), "")


@dataclass(frozen=True)
class Answer:
    """What a visitor was told. `status` is 0 if there was no answer but an `error`; `retry_after` in seconds."""

    status: int = 0
    document: Mapping[str, Any] = field(default_factory=dict)
    passed: bool = False
    retry_after: float | None = None
    cookies: str | Sequence[str] | None = None
    body: bytes = b""
    error: str = ""
    at: float = field(default_factory=clock)

    @classmethod
    def read(cls, status: int, body: bytes, cookies: str | Sequence[str] | None, retry_after: object) -> Self:
        """An answer that has just come, from what the lines of its head say."""
        seconds = float(retry_after) if isinstance(retry_after, str) and retry_after.isdigit() else None
        document = orjson.loads(body) if body.startswith(b"{") else {}
        return cls(status, document, retry_after=seconds, cookies=cookies, body=body)

    @property
    def again(self) -> bool:
        """Whether to ask again later: there was no answer, nobody can serve it now, or the room is closed."""
        return self.status in (0, 503) or self.problem == "closed"

    @property
    def problem(self) -> str:
        """The last part of a problem's type; nothing where the answer is no problem document."""
        kind = str(self.document.get("type", ""))
        return kind.removeprefix("urn:waitroom:") if kind.startswith("urn:waitroom:") else ""

    @property
    def text(self) -> str:
        """Its body, for a message."""
        return self.body.decode(errors="replace") or "no body"

    @property
    def state(self) -> str:
        """`waiting`, `admitted`, or nothing of the kind."""
        return str(self.document.get("state", ""))

    @property
    def poll_after(self) -> float:
        """Seconds to stay away for, as told; an offer says nothing of them."""
        return float(self.document.get("poll_after_seconds", 0.0))

    def outcome(self, good: Collection[int], *, bearing: bool = True, bare: bool = False) -> Outcome:
        """What it is to a visitor who should get one of the `good`. A documented 503 is unknown to one who bears it.

        `bare`: whether the answer needs no problem document, as that of a gate.
        """
        if self.status in good:
            return "ok"
        documented = self.status == 503 and (bare or self.problem) and self.retry_after is not None
        return "unknown" if self.status == 0 or (documented and bearing) else "fail"

    def said(self, error: str = "") -> dict[str, Any]:
        """What of it belongs into the history; `error` is its beginning, where it was no good."""
        told: dict[str, Any] = {
            "status": self.status,
            **({"passed": True} if self.passed else {}),
            **noted(self.document),
        }
        return told | ({"error": error[:200], "problem": self.problem} if error else {})
