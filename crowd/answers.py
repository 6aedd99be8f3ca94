"""An answer as a visitor takes it, and what of it belongs into the history; cookies as a browser keeps them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from crowd.history import Outcome
from crowd.proofs import noted


class Jar(dict[str, str]):
    """Cookies by name; what a server takes back is gone."""

    def store(self, lines: str | Iterable[str] | None) -> None:
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
    """What a visitor was told. `status` is 0 if there was no answer; `retry_after` in seconds, where it was said."""

    status: int = 0
    document: Mapping[str, Any] = field(default_factory=dict)
    passed: bool = False
    retry_after: float | None = None

    @classmethod
    def of(
        cls, call: str, status: int, document: Mapping[str, Any], retry_after: float | None, granted: str = ""
    ) -> Answer:
        """The answer to that call; `granted` is the pass that a gate gave by cookie."""
        passed = call == "gate" and status in (200, 204)
        if passed:
            document = {"state": "admitted", "pass": granted} if granted else {}
        return cls(status, document, passed, retry_after)

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
    def state(self) -> str:
        """`waiting`, `admitted`, or nothing of the kind."""
        return str(self.document.get("state", ""))

    @property
    def poll_after(self) -> float:
        """Seconds to stay away for, as told."""
        return float(self.document.get("poll_after_seconds", 1.0))

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
