"""Every setting, declared once: name, kind, bounds, default, meaning.

The declarations feed the TOML file, the environment (`WAITROOM_` and the name in capitals), the command line, the
admin API and the README's tables. All faults are reported together, by name and value.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from waitroom import addresses, redis_url
from waitroom.errors import SettingsError
from waitroom.model import ROOM_NAME, RoomState

ENVIRONMENT_PREFIX: Final = "WAITROOM_"

#: Room settings that are younger than the first schema: a room written before has none of them, and gets the default.
YOUNGER: Final = frozenset(
    {
        *("strict", "bind_user_agent", "places_per_address", "places_per_network", "challenge", "challenge_bits"),
        *("enqueue_tokens", "enqueue_url"),
    }
)

#: Seconds that a client may be told to stay away at most; clients poll in time for a claim and for the place.
LONGEST_POLL_SECONDS: Final = 30.0

#: The same for a client that watches the room document meanwhile.
LATEST_POLL_SECONDS: Final = 240.0

#: Age in seconds of the room document, from its `as_of`, at which a client that watches fetches it anew: so no rank
#: that is shown gets older than 5 s.
REFRESH_AFTER_SECONDS: Final = 4.5

_ORIGIN = re.compile(r"https?://[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:(?P<port>[1-9][0-9]{0,4}))?\Z", re.ASCII)


#: A path of this site, or an address elsewhere; printable, and without what ends an attribute or hides another host.
_LINK: Final = re.compile(r"(?:https?://[a-z0-9][a-z0-9.-]*(?::[0-9]{1,5})?)?/(?![/\\])[!#-&(-;=?-\[\]-_a-z|~]*\Z")


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


class RoomSettings(BaseModel):
    """What an operator decides about one room."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    capacity: int = Field(100, ge=0, le=10_000_000, description="most visitors inside at once; 0 = unlimited")
    admit_per_second: Seconds = Field(
        0.0, ge=0, le=1_000_000, description="most admissions per second; 0 = unlimited, else 0.001 or more"
    )
    session_seconds: Seconds = Field(300.0, ge=0.1, le=604_800, description="how long an admitted visitor may stay")
    sliding: bool = Field(False, description="whether each request lengthens the session again")
    claim_seconds: Seconds = Field(
        60.0, ge=0.1, le=3600, description="how long an admitted visitor may take to show up"
    )
    abandon_seconds: Seconds = Field(
        120.0, ge=0.1, le=86_400, description="silence after which a waiting visitor stops counting"
    )
    ticket_seconds: Seconds = Field(
        3600.0,
        ge=0.1,
        le=604_800,
        description="how long a ticket gives the place back; at least abandon_seconds",
    )
    max_waiting: int = Field(1_000_000, ge=1, le=10_000_000, description="most visitors in the wait queue")
    state: RoomState = Field(
        "open",
        description="`open`; `paused`: nobody is admitted, places are kept; `closed`: nobody may enter; "
        "`bypass`: everybody passes",
    )
    message: str = Field("", max_length=500, description="a line of plain text for those who wait")
    return_origins: list[str] = Field(
        default_factory=list,
        max_length=20,
        description="other origins, as `https://host`, that visitors may be sent back to",
    )
    strict: bool = Field(
        False,
        description="whether the gate asks Redis at each check, so that a pass that is over is refused at once",
    )
    bind_user_agent: bool = Field(
        False, description="whether a ticket or pass is good only for the User-Agent that it was given to"
    )
    places_per_address: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="new places that one address may take at once, and again over `ticket_seconds`; 0 = any number. "
        "Needs `trusted_proxies`",
    )
    places_per_network: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="the same for a network of addresses (IPv4 /24, IPv6 /48); 0 = any number",
    )
    challenge: Literal["off", "limited", "always"] = Field(
        "off",
        description="a piece of work that a browser does by itself, good for one place: `limited`: for who is over a "
        "limit of places; `always`: for each new place",
    )
    challenge_bits: int = Field(
        18, ge=1, le=24, description="size of that work: 2 to the power of so many tries on average"
    )
    enqueue_tokens: Literal["off", "accepted", "required"] = Field(
        "off",
        description="signed tokens of the site, each good for one place per customer: `accepted`: past limits and "
        "challenge; `required`: nobody gets a new place without one. Needs `enqueue_keys`",
    )
    enqueue_url: str = Field(
        "", max_length=500, description="where a visitor gets such a token, as `/path` or `https://host/path`"
    )
    when_down: Literal["static", "closed", "open"] = Field(
        "static",
        description="the gate while Redis is down: `static`: passes already given stay good; `closed`: nobody; "
        "`open`: short passes, from each worker at the room's rate, counted",
    )

    @field_validator("admit_per_second")
    @classmethod
    def _rate(cls, value: float) -> float:
        if 0 < value < 0.001:
            raise ValueError("must be 0 (unlimited) or at least 0.001")
        return value

    @field_validator("message")
    @classmethod
    def _plain_line(cls, value: str) -> str:
        # Zl and Zp are the Unicode line ends; Cf holds the direction overrides that can disguise a text.
        if any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in value):
            raise ValueError("must be one line of plain text without control or direction characters")
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
        if value and not _LINK.match(value):
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
        """Whether a new place takes more than to come: such rooms let nobody straight through at the gate."""
        limited = self.places_per_address > 0 or self.places_per_network > 0
        return limited or self.challenge == "always" or self.enqueue_tokens != "off"

    @cached_property
    def latest_poll_seconds(self) -> float:
        """How long a client that watches the room document may go without asking in person.

        Two thirds of `abandon_seconds`: in the last third a look that fails is repeated. An offer does not bound it:
        the document tells whoever watches within a few seconds that the queue has moved past them. Where offers are
        too short for that, watching takes no poll's place.
        """
        if self.claim_seconds < 4 * REFRESH_AFTER_SECONDS:
            return self.longest_poll_seconds
        return min(LATEST_POLL_SECONDS, self.abandon_seconds * 2 / 3)


class ServerSettings(BaseModel):
    """What an operator decides about the instances."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=False)

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65_535, description="port to listen on; 0 = any free one")
    workers: int = Field(1, ge=1, le=64, description="server processes on this machine")
    redis_url: str = Field(
        "", repr=False, description="the Redis or Valkey to use; empty = an embedded server is started"
    )
    redis_password_file: str = Field("", description="file whose one line is the password for `redis_url`")
    data_dir: str = Field("waitroom-data", description="folder of the embedded server's data and of generated keys")
    production: bool = Field(False, description="refuse to start with a missing or weak `admin_key` or `signing_keys`")
    admin_key: str = Field(
        "", repr=False, description="bearer key of the admin API; made and kept in `data_dir` if empty"
    )
    signing_keys: list[str] = Field(
        default_factory=list,
        repr=False,
        description="`id:secret` of each signing key, the first signs; made and kept in `data_dir` if empty",
    )
    enqueue_keys: list[str] = Field(
        default_factory=list,
        repr=False,
        description="`id:secret` of each key with which sites sign enqueue tokens; none of them a signing key",
    )
    trusted_proxies: list[str] = Field(
        default_factory=list,
        description="networks, as `10.0.0.0/8`, of the proxies in front, whose X-Forwarded-For is believed; `unix` = "
        "who comes by a unix socket; `none` = nobody is in front. Empty = not known, and limits per address rest",
    )
    public_url: str = Field(
        "",
        description="address at which visitors see the site; under https cookies are `Secure` and `__Host-`",
    )
    tick_seconds: float = Field(0.1, ge=0.01, le=0.2, description="time between two rounds of the scheduler")
    lease_seconds: float = Field(3.0, ge=0.2, le=60, description="how long a dead leader holds up the others")
    drain_seconds: float = Field(
        0.0,
        ge=0,
        le=300,
        description="how long an instance told to stop (SIGTERM) goes on serving while `/readyz` says it leaves",
    )
    redis_timeout_seconds: float = Field(0.4, ge=0.05, le=10, description="longest wait for an answer of Redis")
    max_backlog: int = Field(
        20_000,
        ge=1,
        le=1_000_000,
        description="requests of one kind that may wait for Redis, per room and worker; beyond it 503",
    )
    max_streams: int = Field(
        5_000,
        ge=0,
        le=1_000_000,
        description="event streams that a worker holds open; beyond it clients are told to poll; 0 = none",
    )
    max_streams_per_address: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="how many of them may be of one address; 0 = any number. For instances without a proxy in front, "
        "whose address all visitors would share",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level that is logged")
    rooms: dict[RoomName, RoomSettings] = Field(
        default_factory=dict, description="rooms to create if they do not exist yet, by name"
    )

    @field_validator("redis_url")
    @classmethod
    def _kind_of_redis(cls, value: str) -> str:
        try:
            if value:
                redis_url.parse(value)
        except SettingsError as error:
            raise ValueError(str(error).removeprefix("redis_url: ")) from None
        return value

    @field_validator("public_url")
    @classmethod
    def _public_origin(cls, value: str) -> str:
        if value and not is_origin(value):
            raise ValueError("must be an origin like https://shop.example, in lower case, without a path")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: list[str]) -> list[str]:
        addresses.Proxies.parse(value)
        return value

    @property
    def secure(self) -> bool:
        """Whether visitors come by https."""
        return self.public_url.startswith("https://")


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


def parse_room(document: Mapping[str, Any], *, prefix: str = "") -> RoomSettings:
    """A room's settings from a document; raises SettingsError that lists every fault."""
    try:
        return RoomSettings.model_validate(dict(document))
    except ValidationError as error:
        raise SettingsError("\n".join(faults_of(error, prefix=prefix))) from None


def room_value(name: str, text: str) -> object:
    """A room setting's value from a text, as far as the text is of its kind; `parse_room` judges it."""
    declared = RoomSettings.model_fields.get(name)
    if declared is None:
        return text
    return _list_or_text(text) if name == "return_origins" else number_or_text(text, declared.annotation)


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
    """A room's settings from the texts that Redis keeps; raises SettingsError that lists every fault."""
    known = [name for name in RoomSettings.model_fields if name in fields]
    return parse_room({name: room_value(name, fields[name]) for name in known})


def differences(old: RoomSettings, new: RoomSettings) -> str:
    """What differs, in one line: numbers and the state by value, texts by name, for no free text goes into a log."""
    before, after = old.model_dump(), new.model_dump()
    return ", ".join(
        f"{name} {before[name]} to {after[name]}" if name == "state" or isinstance(after[name], int | float) else name
        for name in after
        if before[name] != after[name]
    )


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


def _list_or_text(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text
