"""A visitor's cookies: the room's two, kept as a browser keeps them."""

from __future__ import annotations

from collections.abc import Iterable


class Jar:
    """Cookies by name; what a server takes back is gone."""

    def __init__(self) -> None:
        self._held: dict[str, str] = {}

    def store(self, lines: str | list[str] | None) -> None:
        """Take over what `Set-Cookie` says."""
        for line in _listed(lines):
            pair, _, attributes = line.partition(";")
            name, _, value = pair.strip().partition("=")
            if "max-age=0" in attributes.lower().replace(" ", ""):
                self._held.pop(name, None)
            else:
                self._held[name] = value

    def header(self) -> dict[str, str]:
        """The header that carries them; none without any."""
        return {"Cookie": "; ".join(f"{name}={value}" for name, value in self._held.items())} if self._held else {}

    def proof(self, kind: str, room: str) -> str:
        """The room's ticket or pass, whatever its cookie's prefix; empty if there is none."""
        wanted = f"waitroom_{kind}_{room}"
        return next((value for name, value in self._held.items() if name.endswith(wanted)), "")

    def empty(self) -> None:
        """Forget them all."""
        self._held.clear()


def _listed(lines: str | list[str] | None) -> Iterable[str]:
    if lines is None:
        return ()
    return (lines,) if isinstance(lines, str) else lines
