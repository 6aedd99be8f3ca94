"""The grammar of Redis URLs: which servers, as which user, encrypted or not. And how to show a URL without its secrets.

    redis://[user:password@]host[:port][/database]                         one server
    unix://[user:password@]/path/to/socket[?db=database]                   one server on this machine
    redis+sentinel://[user:password@]host[:port],.../service[/database]    the primary that Sentinels name
    redis+cluster://[user:password@]host[:port],...                        a cluster, learned from any of these
    rediss://, rediss+sentinel://, rediss+cluster://                       the same over TLS
    valkey://, valkeys://, valkey+sentinel:// and so on                    the same for Valkey, in each of these

Options follow a `?`: over TLS those of `Tls`, for Sentinels `sentinel_username` and `sentinel_password`, which are sent
to the Sentinels as user and password are to the servers. Special characters in names and passwords are
percent-encoded. No message made here quotes a part of the URL that may be a secret.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from typing import Final, Literal
from urllib.parse import parse_qsl, quote, unquote

from waitroom.errors import SettingsError
from waitroom.texts import line_in

Kind = Literal["single", "sentinel", "cluster"]

#: Host and port.
Address = tuple[str, int]

_KINDS: Final[dict[str, Kind]] = {"": "single", "+sentinel": "sentinel", "+cluster": "cluster"}
_SCHEME: Final = re.compile(r"(?:redis|valkey)(?P<tls>s?)(?P<kind>|\+sentinel|\+cluster)\Z")
_HOST: Final = re.compile(r"(\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(:(?P<port>[0-9]*))?\Z")
_OPTION: Final = re.compile(r"[a-z_]{1,32}\Z")
_PORTS: Final = {"single": 6379, "sentinel": 26379, "cluster": 6379}
_WORDS: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_MOST_DATABASES: Final = 65_536
_MOST_PASSWORD_BYTES: Final = 4096
_SOCKET: Final = "unix"
_SENTINEL_OPTIONS: Final = {"sentinel_username", "sentinel_password"}


@dataclass(frozen=True)
class Tls:
    """How a connection is encrypted, by redis-py's own names.

    Where `ssl_ca_certs` or `ssl_ca_path` names authorities, no others are trusted.
    """

    ssl_ca_certs: str = ""
    ssl_ca_path: str = ""
    ssl_certfile: str = ""
    ssl_keyfile: str = ""
    ssl_password: str = field(default="", repr=False)
    ssl_check_hostname: bool = True
    ssl_cert_reqs: str = "required"
    ssl_min_version: str = "TLSv1.2"
    ssl_ciphers: str = ""


_CHOICES: Final = {"ssl_cert_reqs": ("required", "none"), "ssl_min_version": ("TLSv1.2", "TLSv1.3")}


@dataclass(frozen=True, repr=False)
class RedisUrl:
    """A Redis URL, taken apart. `hosts` is empty for a socket, `tls` is None without TLS. The repr shows no secret."""

    kind: Kind
    hosts: tuple[Address, ...]
    path: str = ""
    service: str = ""
    database: int = 0
    tls: Tls | None = None
    username: str = ""
    password: str = ""
    sentinel_username: str = ""
    sentinel_password: str = ""

    def __repr__(self) -> str:
        return f"RedisUrl({self.masked()!r})"

    def masked(self) -> str:
        """The URL with all hosts, without user, password and options: fit for logs."""
        known = "***@" if self.username or self.password else ""
        if self.path:
            return f"unix://{known}{self.path}"
        suffix = {"single": "", "sentinel": "+sentinel", "cluster": "+cluster"}[self.kind]
        where = ",".join(shown(host) for host in self.hosts)
        service = f"/{self.service}" if self.service else ""
        database = f"/{self.database}" if self.kind != "cluster" else ""
        return f"redis{'s' if self.tls else ''}{suffix}://{known}{where}{service}{database}"

    def scrubbed(self, text: str) -> str:
        """A text in one line and without this URL's passwords: servers and libraries may repeat what they were sent."""
        said = " ".join(text.split())
        secrets = {self.password, self.sentinel_password, self.tls.ssl_password if self.tls else ""}
        forms = {form for secret in secrets if secret for form in (secret, quote(secret, safe=""))}
        for form in sorted(forms, key=len, reverse=True):
            said = said.replace(form, "***")
        return said


def shown(address: Address) -> str:
    """An address as text: `host:port`."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def masked(url: str) -> str:
    """The URL without user, password and options. Of a text that is no Redis URL the scheme at most."""
    try:
        return parse(url).masked()
    except SettingsError:
        scheme = url.partition("://")[0]
        return f"{scheme}://***" if scheme == _SOCKET or _SCHEME.match(scheme) else "***"


def has_password(url: str) -> bool:
    """Whether the URL holds a password, or may hold one because it cannot be understood."""
    try:
        parsed = parse(url)
    except SettingsError:
        return "@" in url or "password" in url
    return bool(parsed.password or parsed.sentinel_password or (parsed.tls and parsed.tls.ssl_password))


def with_password(url: str, password: str) -> str:
    """The URL with this password for the user that it names."""
    scheme, _, rest = url.partition("://")
    authority, tail = _split(rest)
    known, _, hosts = authority.rpartition("@")
    return f"{scheme}://{known.partition(':')[0]}:{quote(password, safe='')}@{hosts}{tail}"


def password_in(content: bytes) -> str:
    """The password that is the one line of a file. Raises SettingsError."""
    if len(content) > _MOST_PASSWORD_BYTES:
        raise SettingsError(f"redis_password_file: longer than {_MOST_PASSWORD_BYTES} bytes, so not a password")
    try:
        return line_in(content)
    except ValueError as error:
        raise SettingsError(f"redis_password_file: {error}") from None


def parse(url: str) -> RedisUrl:
    """A URL taken apart. Raises SettingsError that says what is wrong without quoting what may be a secret."""
    scheme, separator, rest = url.partition("://")
    known = _SCHEME.match(scheme)
    if not separator or (known is None and scheme != _SOCKET):
        raise _wrong(
            "must be redis://host:port/0, unix:///path, redis+sentinel://host:port,host:port/service or "
            "redis+cluster://host:port,host:port; with TLS rediss://, rediss+sentinel:// or rediss+cluster://. "
            "valkey is as good a word as redis in each"
        )
    if not url.isprintable() or " " in url:
        raise _wrong("holds a space or a control character: percent-encode it")
    authority, tail = _split(rest)
    path, _, query = tail.partition("?")
    if "@" in tail or "#" in tail:
        raise _wrong("has an @ or # where none can be: percent-encode user and password (/ %2F, ? %3F, # %23, @ %40)")
    credentials, _, hosts = authority.rpartition("@")
    username, _, password = (unquote(part) for part in credentials.partition(":"))
    if not unquote(path).isprintable():
        raise _wrong("holds a control character")
    options = _options(query)
    if known is None:
        parsed = _of_socket(hosts, unquote(path), username, password, options)
    else:
        parsed = _of_network(_KINDS[known["kind"]], bool(known["tls"]), hosts, path, username, password, options)
    if options:
        # What follows a password's bare ? never gets here: such a URL has an @ in the wrong place.
        names = [name for name in options if _OPTION.match(name)]
        raise _wrong(f"has no option {names[0]!r} here" if names else "has an unknown option")
    return parsed


def _of_socket(hosts: str, path: str, username: str, password: str, options: dict[str, str]) -> RedisUrl:
    if hosts or path in ("", "/"):
        raise _wrong("must name a socket by its full path, as in unix:///run/redis/redis.sock")
    database = _database(options.pop("db", ""))
    return RedisUrl("single", (), path=path, database=database, username=username, password=password)


def _of_network(
    kind: Kind, tls: bool, hosts: str, path: str, username: str, password: str, options: dict[str, str]
) -> RedisUrl:
    addresses = tuple(_address(host, _PORTS[kind]) for host in hosts.split(","))
    if kind == "single" and len(addresses) > 1:
        raise _wrong("names several hosts: those of Sentinels take redis+sentinel://, a cluster's redis+cluster://")
    parts = path.removeprefix("/").split("/")
    service = unquote(parts.pop(0)) if kind == "sentinel" else ""
    if kind == "sentinel" and not service:
        raise _wrong("names no service: end it with the name that the Sentinels have for the primary, as in /mymaster")
    if len(parts) > 1:
        raise _wrong("has a path that is too long")
    database = _database(parts[0] if parts else "")
    if kind == "cluster" and database:
        raise _wrong("names a database: a cluster has only database 0")
    sentinel = {name: options.pop(name) for name in _SENTINEL_OPTIONS & options.keys()} if kind == "sentinel" else {}
    if not tls:
        _refuse_tls(options)
    return RedisUrl(
        kind,
        addresses,
        service=service,
        database=database,
        tls=_tls(options) if tls else None,
        username=username,
        password=password,
        **sentinel,
    )


def _tls(options: dict[str, str]) -> Tls:
    """Takes the options of TLS out of `options`."""
    found: dict[str, str | bool] = {}
    for name in (each.name for each in fields(Tls) if each.name in options):
        text = options.pop(name)
        if name == "ssl_check_hostname":
            if text.lower() not in _WORDS:
                raise _wrong(f"the option {name} must be true or false")
            found[name] = _WORDS[text.lower()]
        elif name in _CHOICES and text not in _CHOICES[name]:
            raise _wrong(f"the option {name} must be {' or '.join(_CHOICES[name])}")
        else:
            found[name] = text
    if "ssl_keyfile" in found and "ssl_certfile" not in found:
        raise _wrong("the option ssl_keyfile needs ssl_certfile")
    return Tls(**found)  # type: ignore[arg-type]


def _refuse_tls(options: dict[str, str]) -> None:
    names = [each.name for each in fields(Tls) if each.name in options]
    if names:
        raise _wrong(f"the option {names[0]} needs TLS: rediss://, rediss+sentinel:// or rediss+cluster://")


def _options(query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else []
    except ValueError:
        raise _wrong("has options that are not name=value") from None
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _wrong("has an option twice")
    for name in ("username", "password"):
        if name in found:
            raise _wrong(f"has {name} as an option: write user:password@ before the host")
    return found


def _address(text: str, default: int) -> Address:
    match = _HOST.match(text)
    if match is None:
        raise _wrong("names no valid host: the order is user:password@host:port")
    port = match["port"]
    if port is not None and not (port.isdigit() and 0 < int(port) < 65_536):
        raise _wrong("a port must be a number from 1 to 65535")
    return match["v6"] or match["name"], int(port or default)


def _database(text: str) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) < 6 and int(text) < _MOST_DATABASES):
        raise _wrong("the database must be a number, as in redis://host:6379/0")
    return int(text)


def _split(rest: str) -> tuple[str, str]:
    """Authority, and what follows it."""
    end = re.search(r"[/?#]|\Z", rest)
    at = end.start() if end else len(rest)
    return rest[:at], rest[at:]


def _wrong(what: str) -> SettingsError:
    return SettingsError(f"redis_url: {what}")
