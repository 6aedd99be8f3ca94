"""What every kind of setting keeps to, and how a fault in one is told.

A fault is one line: the setting's name, what is wrong, and its value. All faults are reported together.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Annotated, ClassVar, Final, Literal, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from waitroom.model import room_name
from waitroom.texts import cleaned, stripped, unquoted, without_odd_blanks

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


class Settings(BaseModel):
    """What is declared once, each text of it cleaned in the same way."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    #: Texts for people, in which a blank that keeps words together may stand.
    PROSE: ClassVar[frozenset[str]] = frozenset()

    @field_validator("*", mode="before")
    @classmethod
    def _cleaned(cls, value: object, info: ValidationInfo) -> object:
        prose = info.field_name in cls.PROSE
        if isinstance(value, list):
            return [_cleaned(item, prose=prose) for item in value]
        return _cleaned(value, prose=prose)


def _cleaned(value: object, *, prose: bool) -> object:
    if not isinstance(value, str):
        return value
    text = cleaned(value)
    return text if prose else without_odd_blanks(text)


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


def value_of(
    text: str, annotation: object, *, list_of: Callable[[str], object] | None = None, quoted: bool = False
) -> object:
    """A setting's text as a value of the kind that its annotation names, or the text itself where it is none.

    Quotes around one that may be `quoted`, as in an env file, are no part of it. A list is read by `list_of`, else as
    JSON where it looks like that, and by comma or line where not. Raises JSONDecodeError for a table (`dict`) that is
    not JSON.
    """
    kind = get_origin(annotation) or annotation
    if kind is Literal and all(type(choice) is int for choice in get_args(annotation)):
        kind = int
    if kind is dict:
        # No JSON begins with the quote that an env file may leave around it.
        return json.loads(stripped(text).strip("'"))
    text = unquoted(text) if quoted else text
    if kind in (list, bool, int, float):
        text = stripped(text)
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
    parts = (unquoted(part) for part in re.split(r"[,\r\n]", text))
    return [part for part in parts if part]
