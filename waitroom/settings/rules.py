"""What every kind of setting keeps to, and how a fault in one is told.

A fault is one line: the setting's name, what is wrong, and its value. All faults are reported together.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field, ValidationError

from waitroom.model import ROOM_NAME

_ORIGIN = re.compile(r"https?://[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:(?P<port>[1-9][0-9]{0,4}))?\Z", re.ASCII)


#: A path of this site, or an address elsewhere; printable, and without what ends an attribute or hides another host.
LINK: Final = re.compile(r"(?:https?://[a-z0-9][a-z0-9.-]*(?::[0-9]{1,5})?)?/(?![/\\])[!#-&(-;=?-\[\]-_a-z|~]*\Z")


def is_origin(text: str) -> bool:
    """Whether a text is `scheme://host[:port]` in lower case and no more."""
    match = _ORIGIN.match(text)
    return match is not None and int(match["port"] or 0) <= 65_535


Seconds = Annotated[float, Field(allow_inf_nan=False)]


def _room_name(name: str) -> str:
    if not ROOM_NAME.match(name):
        raise ValueError(f"{name!r} is not a room name: 1-64 of a-z, 0-9, _ and -, a letter or digit first")
    return name


RoomName = Annotated[str, AfterValidator(_room_name)]


#: Settings whose value is never shown, also not when it is wrong.
_SECRET: Final = {"admin_key", "signing_keys", "enqueue_keys", "redis_url"}


def faults_of(error: ValidationError, *, prefix: str = "") -> list[str]:
    """One line for each fault: the setting's name, what is wrong, and its value (unless it is a secret)."""
    lines = []
    for fault in error.errors(include_url=False):
        # A key may hold anything: its line breaks must not look like another fault.
        parts = [repr(part)[1:-1] if isinstance(part, str) else str(part) for part in fault["loc"]]
        name = prefix + ".".join(parts).removesuffix(".[key]")
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            message = "no such setting"
        shown = ""
        # What stands under an unknown name may be a secret whose name was misspelt.
        secret = fault["type"] == "extra_forbidden" or (fault["loc"] and fault["loc"][0] in _SECRET)
        if name and not secret and not isinstance(fault["input"], dict):
            shown = f", got {_short(fault['input'])}"
        lines.append(f"{name}: {message}{shown}" if name else message)
    return lines


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def number_or_text(text: str, kind: object) -> object:
    """The text as a value of that kind, or itself where it is none."""
    try:
        if kind is bool:
            return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)
        if kind is int or kind is float:
            return kind(text)
    except ValueError:
        return text
    return text


def list_or_text(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text
