"""What an operator decides about the instances: every setting declared once, with kind, bounds, default and meaning.

The declarations feed the TOML file, the environment (`WAITROOM_` and the name in capitals), the command line and the
tables of docs/reference/settings.md.
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field, ValidationInfo, field_validator

from waitroom.addresses import Proxies
from waitroom.errors import SettingsError
from waitroom.proofs import keyring
from waitroom.proofs.keyring import Keyring
from waitroom.settings.room import RoomSettings
from waitroom.settings.rules import RoomName, Settings, is_origin
from waitroom.store import url

ENVIRONMENT_PREFIX: Final = "WAITROOM_"


class ServerSettings(Settings):
    """What an operator decides about the instances."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65_535, description="port to listen on, 0 = any free one")
    workers: int = Field(1, ge=1, le=64, description="server processes on this machine")
    redis_url: str = Field(
        "", repr=False, description="URL of the Redis or Valkey to use, empty = waitroom starts an embedded server"
    )
    redis_password_file: str = Field("", description="file with one line, the password for `redis_url`")
    data_dir: str = Field("waitroom-data", description="folder of the embedded server's data and of generated keys")
    production: bool = Field(False, description="refuse to start with a missing or weak `admin_key` or `signing_keys`")
    admin_key: str = Field(
        "",
        repr=False,
        description="bearer key of the admin API. If empty, waitroom makes one and keeps it in `data_dir`",
    )
    signing_keys: list[str] = Field(
        default_factory=list,
        repr=False,
        description="`id:secret` of each signing key. The first signs, all verify. If empty, waitroom makes one and "
        "keeps it in `data_dir`",
    )
    enqueue_keys: list[str] = Field(
        default_factory=list,
        repr=False,
        description="`id:secret` of each key with which sites sign enqueue tokens. None may be a signing key",
    )
    trusted_proxies: list[str] = Field(
        default_factory=list,
        description="networks, as `10.0.0.0/8`, of the proxies in front: their X-Forwarded-For is believed. "
        "`unix` = a proxy on a unix socket. `none` = no proxy in front. Empty = not known: no limit per address works",
    )
    public_url: str = Field(
        "",
        description="address at which visitors see the site. Under https cookies are `Secure` and `__Host-`",
    )
    same_site: Literal["lax", "none"] = Field(
        "lax",
        description="whether a visitor's ticket and pass come along with a form that another site's page sends here, "
        "as a bank's does after a payment. `lax`: no. `none`: yes. Needs an https `public_url`",
    )
    tick_seconds: float = Field(0.1, ge=0.01, le=0.2, description="time between two rounds of the scheduler")
    lease_seconds: float = Field(
        3.0, ge=0.2, le=60, description="time after the death of the leader until another instance leads"
    )
    drain_seconds: float = Field(
        0.0,
        ge=0,
        le=300,
        description="how long an instance goes on serving after SIGTERM, while `/readyz` says that it stops",
    )
    redis_timeout_seconds: float = Field(0.4, ge=0.05, le=10, description="longest wait for an answer of Redis")
    max_backlog: int = Field(
        20_000,
        ge=1,
        le=1_000_000,
        description="requests of one kind that may wait for Redis, per room and worker. Further ones get 503",
    )
    max_streams: int = Field(
        5_000,
        ge=0,
        le=1_000_000,
        description="event streams that a worker holds open. Further clients are told to poll. 0 = none",
    )
    max_streams_per_address: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="how many of these streams one address may have, 0 = any number. Only for instances without a "
        "proxy in front, for behind one all visitors share its address",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="lowest level that is logged")
    rooms: dict[RoomName, RoomSettings] = Field(
        default_factory=dict, description="rooms to create if they do not exist yet, by name"
    )

    @field_validator("redis_url")
    @classmethod
    def _kind_of_redis(cls, value: str) -> str:
        try:
            if value:
                url.parse(value)
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
        Proxies.parse(value)
        return value

    @field_validator("same_site")
    @classmethod
    def _cookies_for_other_sites_are_secure(cls, value: str, info: ValidationInfo) -> str:
        # A browser drops a cookie with SameSite=None that is not Secure.
        url = info.data.get("public_url")
        if value == "none" and url is not None and not url.startswith("https://"):
            raise ValueError(f"needs a public_url under https, which is {url!r}")
        return value

    @property
    def secure(self) -> bool:
        """Whether visitors come by https."""
        return self.public_url.startswith("https://")

    @property
    def own_origin(self) -> str:
        """The only origin whose pages act for a visitor where cookies come along with other sites' requests, else
        empty."""
        return self.public_url if self.same_site == "none" else ""

    def signing_ring(self) -> Keyring:
        """The keys of tickets and passes. Raises SettingsError where one is not sound, or none is given."""
        return keyring.parse(self.signing_keys)

    def enqueue_ring(self) -> Keyring | None:
        """The sites' own keys, None where none is given. Raises SettingsError where one is not sound.

        A signing key is none of them: the holder of an enqueue key could sign passes with it.
        """
        if not self.enqueue_keys:
            return None
        return keyring.parse(self.enqueue_keys, name="enqueue_keys", apart_from=self.signing_keys)

    def fault_of_tokens(self, wanted: object) -> str:
        """Why rooms cannot take enqueue tokens as `wanted`, empty where they can: without a key they would be shut."""
        if wanted not in ("accepted", "required") or self.enqueue_keys:
            return ""
        return f"enqueue_tokens: {wanted!r} needs enqueue_keys, for without one no token is good"
