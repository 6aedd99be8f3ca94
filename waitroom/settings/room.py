"""What an operator decides about one room: every setting declared once, with kind, bounds, default and meaning.

The declarations feed the TOML file, the environment, the command line, the admin API and the reference.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, ClassVar, Final, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from waitroom.errors import SettingsError
from waitroom.model import RoomState
from waitroom.settings.rules import LINK, Finite, Settings, faults_of, is_origin, value_of

#: Room settings that are younger than the first schema: a room written before has none of them, and gets the default.
YOUNGER: Final = frozenset(
    {
        *("strict", "bind_user_agent", "places_per_address", "places_per_network", "challenge", "challenge_bits"),
        *("enqueue_tokens", "enqueue_url", "page_status"),
    }
)

#: Room settings that need to know where visitors come from.
PER_SOURCE: Final = ("places_per_address", "places_per_network")

#: Seconds that a client may be told to stay away at most. Clients poll in time for a claim and for the place.
LONGEST_POLL_SECONDS: Final = 30.0

#: The same for a client that watches the room document meanwhile.
LATEST_POLL_SECONDS: Final = 240.0

#: Age in seconds of the room document, from its `as_of`, at which a client that watches fetches it anew: so no rank
#: that is shown gets older than 5 s.
REFRESH_AFTER_SECONDS: Final = 4.5


class RoomSettings(Settings):
    """What an operator decides about one room."""

    PROSE: ClassVar[frozenset[str]] = frozenset({"message"})

    capacity: int = Field(100, ge=0, le=10_000_000, description="most visitors inside at once, 0 = unlimited")
    admit_per_second: Finite = Field(
        0.0, ge=0, le=1_000_000, description="most admissions per second, 0.001 or more. 0 = unlimited"
    )
    session_seconds: Finite = Field(300.0, ge=0.1, le=604_800, description="how long an admitted visitor may stay")
    sliding: bool = Field(False, description="whether a visitor's requests lengthen the session again")
    claim_seconds: Finite = Field(
        60.0,
        ge=0.1,
        le=3600,
        description="how long an admitted visitor has to come in. After that the place goes to the next",
    )
    abandon_seconds: Finite = Field(
        120.0,
        ge=0.1,
        le=86_400,
        description="silence after which a waiting visitor loses the place in the queue. The ticket gives it back",
    )
    ticket_seconds: Finite = Field(
        3600.0,
        ge=0.1,
        le=604_800,
        description="how long a ticket gives the place back, at least `abandon_seconds`",
    )
    max_waiting: int = Field(1_000_000, ge=1, le=10_000_000, description="most visitors in the wait queue")
    state: RoomState = Field(
        "open",
        description="`open`: visitors enter and are admitted. `paused`: no visitor is admitted, places are kept. "
        "`closed`: no visitor may enter. `bypass`: every visitor passes without waiting",
    )
    message: str = Field("", max_length=500, description="a line of plain text that waiting visitors see")
    return_origins: list[str] = Field(
        default_factory=list,
        max_length=20,
        description="other origins, as `https://host`, to which visitors may be sent back after the wait",
    )
    strict: bool = Field(
        False,
        description="whether the gate asks Redis at each check, and so refuses a pass as soon as its session is over",
    )
    bind_user_agent: bool = Field(
        False, description="whether a ticket or pass works only with the User-Agent that received it"
    )
    places_per_address: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="new places that one address may take at once, and as many again over each `ticket_seconds`. "
        "0 = any number. Needs `trusted_proxies`",
    )
    places_per_network: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="the same for a network of addresses (IPv4 /24, IPv6 /48), 0 = any number",
    )
    challenge: Literal["off", "limited", "always"] = Field(
        "off",
        description="a piece of work that a browser does by itself and that gives one place. `off`: no work. "
        "`limited`: only for visitors over a limit of places. `always`: for each new place",
    )
    challenge_bits: int = Field(
        18, ge=1, le=24, description="size of that work: on average 2 to the power of this number tries"
    )
    enqueue_tokens: Literal["off", "accepted", "required"] = Field(
        "off",
        description="signed tokens of the site, each good for one place per customer. `off`: not read. `accepted`: "
        "limits and challenge do not hold for a visitor with a token. `required`: each new place needs one. "
        "Needs `enqueue_keys`",
    )
    enqueue_url: str = Field(
        "", max_length=500, description="where a visitor gets such a token, as `/path` or `https://host/path`"
    )
    page_status: Literal[200, 503, 429] = Field(
        200,
        description="status of the waiting page while its visitor waits, for search engines. `503` and `429` come with "
        "Retry-After",
    )
    when_down: Literal["static", "closed", "open"] = Field(
        "static",
        description="what the gate does while Redis is down. `static`: passes already given stay good. `closed`: no "
        "visitor goes on. `open`: each worker also gives short passes, at the room's rate, and counts them",
    )

    @field_validator("admit_per_second")
    @classmethod
    def _rate(cls, value: float) -> float:
        if 0 < value < 0.001:
            raise ValueError("must be 0 (unlimited) or at least 0.001")
        return value

    @field_validator("return_origins")
    @classmethod
    def _origins(cls, value: list[str]) -> list[str]:
        for origin in value:
            if not is_origin(origin):
                raise ValueError(f"{origin!r} is not an origin like https://shop.example or http://10.0.0.1:8080")
        return value

    @field_validator("enqueue_url")
    @classmethod
    def _link(cls, value: str) -> str:
        if value and not LINK.match(value):
            raise ValueError("must be a path like /login or an address like https://shop.example/login")
        return value

    @model_validator(mode="after")
    def _tickets_outlive_silence(self) -> RoomSettings:
        if self.ticket_seconds < self.abandon_seconds:
            raise ValueError(
                f"ticket_seconds {self.ticket_seconds:g} must be at least abandon_seconds {self.abandon_seconds:g}"
            )
        return self

    @cached_property
    def longest_poll_seconds(self) -> float:
        """How long a client may stay away without missing its offer or losing its place."""
        return min(LONGEST_POLL_SECONDS, self.claim_seconds / 2, self.abandon_seconds / 3)

    @cached_property
    def guarded(self) -> bool:
        """Whether a new place takes more than to come: such rooms let no visitor straight through at the gate."""
        limited = any(getattr(self, name) > 0 for name in PER_SOURCE)
        return limited or self.challenge == "always" or self.enqueue_tokens != "off"

    @cached_property
    def latest_poll_seconds(self) -> float:
        """How long a client that watches the room document may go without asking in person.

        Two thirds of `abandon_seconds`: in the last third a look that fails is repeated. An offer does not bound it:
        the document tells a watching client within a few seconds that the queue has moved past it. Where offers are
        too short for that, watching takes no poll's place.
        """
        if self.claim_seconds < 4 * REFRESH_AFTER_SECONDS:
            return self.longest_poll_seconds
        return min(LATEST_POLL_SECONDS, self.abandon_seconds * 2 / 3)


def parse_room(document: Mapping[str, Any], *, prefix: str = "") -> RoomSettings:
    """A room's settings from a document. Raises SettingsError that lists every fault."""
    try:
        return RoomSettings.model_validate(dict(document))
    except ValidationError as error:
        raise SettingsError("\n".join(faults_of(error, RoomSettings, prefix=prefix))) from None


def room_value(name: str, text: str, *, list_of: Callable[[str], object] | None = None) -> object:
    """A room setting's value from a text, as far as the text is of its kind. `parse_room` judges it."""
    declared = RoomSettings.model_fields.get(name)
    return text if declared is None else value_of(text, declared.annotation, list_of=list_of)


def fields_of(settings: RoomSettings) -> dict[str, str]:
    """A room's settings as the texts that Redis keeps."""
    fields = {}
    for name, value in settings.model_dump().items():
        if isinstance(value, bool):
            fields[name] = str(int(value))
        elif isinstance(value, list):
            fields[name] = json.dumps(value)
        else:
            fields[name] = str(value)
    return fields


def settings_of(fields: Mapping[str, str]) -> RoomSettings:
    """A room's settings from the texts that Redis keeps. Raises SettingsError that lists every fault."""
    known = [name for name in RoomSettings.model_fields if name in fields]
    return parse_room({name: room_value(name, fields[name], list_of=json.loads) for name in known})


def differences(old: RoomSettings, new: RoomSettings) -> str:
    """What differs, in one line: numbers and the state by value, texts by name, for no free text goes into a log."""
    before, after = old.model_dump(), new.model_dump()
    return ", ".join(
        f"{name} {before[name]} to {after[name]}" if name == "state" or isinstance(after[name], int | float) else name
        for name in after
        if before[name] != after[name]
    )
