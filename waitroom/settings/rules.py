"""What every kind of setting keeps to, and how a fault in one is told.

A fault is one line: the setting's name, what is wrong, and its value. All faults are reported together.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Annotated, Final, get_origin

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from waitroom.model import room_name

_ORIGIN: Final = re.compile(r"https?://[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:(?P<port>[1-9][0-9]{0,4}))?\Z", re.ASCII)

#: A path of this site, or an address elsewhere. Printable, and without what ends an attribute or hides another host.
LINK: Final = re.compile(r"(?:https?://[a-z0-9][a-z0-9.-]*(?::[0-9]{1,5})?)?/(?![/\\])[!#-&(-;=?-\[\]-_a-z|~]*\Z")


def is_origin(text: str) -> bool:
    """Whether a text is `scheme://host[:port]` in lower case and no more."""
    match = _ORIGIN.match(text)
    return match is not None and int(match["port"] or 0) <= 65_535


#: A number that may have a fraction: no infinity, and no NaN.
Finite = Annotated[float, Field(allow_inf_nan=False)]

#: A name that a room may have.
RoomName = Annotated[str, AfterValidator(room_name)]


def faults_of(error: ValidationError, declared: type[BaseModel], *, prefix: str = "") -> list[str]:
    """One line for each fault of what was `declared`: the setting's name, what is wrong, and its value.

    The value of a secret, which is declared with `repr=False`, is never shown, also not when it is wrong.
    """
    lines = []
    for fault in error.errors(include_url=False):
        # A key may hold anything: its line breaks must not look like another fault.
        parts = [repr(part)[1:-1] if isinstance(part, str) else str(part) for part in fault["loc"]]
        name = prefix + ".".join(parts).removesuffix(".[key]")
        stranger = fault["type"] == "extra_forbidden"
        message = "no such setting" if stranger else fault["msg"].removeprefix("Value error, ")
        shown = ""
        # The value of an unknown name may be a secret with a misspelt name.
        if name and not stranger and not _is_secret(fault["loc"], declared) and not isinstance(fault["input"], dict):
            shown = f", got {_short(fault['input'])}"
        lines.append(f"{name}: {message}{shown}" if name else message)
    return lines


def _is_secret(loc: tuple[int | str, ...], declared: type[BaseModel]) -> bool:
    field = declared.model_fields.get(str(loc[0])) if loc else None
    return field is not None and not field.repr


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def value_of(text: str, annotation: object, *, list_of: Callable[[str], object] | None = None) -> object:
    """A setting's text as a value of the kind that its annotation names, or the text itself where it is none.

    A list is read by `list_of`, else as JSON where it looks like that and by comma where not. Raises JSONDecodeError
    for a table (`dict`) that is not JSON.
    """
    kind = get_origin(annotation) or annotation
    if kind is dict:
        return json.loads(text)
    try:
        if kind is list:
            return (list_of or _list)(text)
        if kind is bool:
            return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)
        if kind is int or kind is float:
            return kind(text)
    except ValueError:
        return text
    return text


def _list(text: str) -> object:
    if text.startswith("["):
        return json.loads(text)
    return [part.strip() for part in text.split(",")] if text.strip() else []
