"""Every time-out of every shipped file, held against what an instance does: its heartbeat, its drain, its answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

import crossplane
import pytest
import yaml

from tests.deploy import project, units
from waitroom.rooms.streams import QUIET_SECONDS
from waitroom.serve import workers
from waitroom.settings.server import ServerSettings

#: Seconds to answer a call that asks Redis twice and hears nothing.
ANSWER: Final = 2 * float(ServerSettings.model_fields["redis_timeout_seconds"].default)

#: What a time-out may be, by what it ends. Zero is none, where none is right.
KINDS: Final[dict[str, Callable[[float], bool]]] = {
    # An event stream, or a connection on which one may be: one heartbeat may be lost.
    "stream": lambda seconds: seconds == 0 or seconds > 2 * QUIET_SECONDS,
    # The wait for one instance: it has time to say that Redis does not answer.
    "answer": lambda seconds: seconds > ANSWER,
    # The wait for two instances, one after another.
    "answers": lambda seconds: seconds > 2 * ANSWER,
    # A page that thinks, a slow download, a quiet WebSocket.
    "origin": lambda seconds: seconds == 0 or seconds >= 60,
    # The way to a dead instance, which a visitor waits for.
    "connect": lambda seconds: 0.1 <= seconds <= 1,
    # An idle connection to an instance: it is ended here first.
    "idle": lambda seconds: seconds < workers.KEEP_ALIVE_SECONDS,
    # A client that is too slow with its request, or reads nothing.
    "client": lambda seconds: 5 <= seconds <= 60,
    # How often one looks at an instance, and how long one that failed is left out.
    "look": lambda seconds: 0 < seconds <= 10,
    # A moment before the next instance is asked.
    "moment": lambda seconds: seconds < ANSWER,
    # How long an instance that stops has: its drain is added below.
    "stop": lambda seconds: seconds > workers.GRACE_SECONDS,
    # The store reads or writes the last of its file.
    "store": lambda seconds: seconds >= 60,
    # About no request of a visitor's.
    "other": lambda _: True,
}

#: Each time-out, as `file: way to it`, and its kind. The first that fits counts.
TABLE: Final = {
    "nginx/*: * fail_timeout": "look",
    "nginx/*: * keepalive_timeout": "idle",
    "nginx/*: * client_body_timeout": "client",
    "nginx/*: * client_header_timeout": "client",
    "nginx/*: * send_timeout": "client",
    "nginx/waitroom-locations.conf: *events* proxy_read_timeout": "stream",
    "nginx/*: *proxy_read_timeout": "answer",
    "nginx/*: *proxy_send_timeout": "answer",
    "nginx/*: *proxy_connect_timeout": "connect",
    "nginx/*: *proxy_next_upstream_timeout": "answers",
    "*/nginx.conf: * fail_timeout": "look",
    "*/nginx.conf: * resolver_timeout": "look",
    "*/nginx.conf: * keepalive_timeout": "idle",
    "*/nginx.conf: * client_body_timeout": "client",
    "*/nginx.conf: * client_header_timeout": "client",
    "*/nginx.conf: * send_timeout": "client",
    "*/Caddyfile: dial_timeout": "connect",
    "*/Caddyfile: fail_duration": "look",
    "*/Caddyfile: import waitroom_instances": "answer",
    "*/haproxy.cfg: defaults timeout connect": "connect",
    "*/haproxy.cfg: defaults timeout client": "stream",
    "*/haproxy.cfg: defaults timeout http-*": "client",
    "*/haproxy.cfg: defaults timeout *": "origin",
    "*/haproxy.cfg: frontend waitroom_gate timeout client": "answers",
    "*/haproxy.cfg: backend waitroom http-request set-timeout server * /events *": "stream",
    "*/haproxy.cfg: backend waitroom http-request set-timeout server * /forward-auth/ *": "answer",
    "*/haproxy.cfg: backend waitroom timeout server": "answer",
    "*/haproxy.cfg: backend waitroom default-server *": "look",
    "*/waitroom.lua: TIMEOUT_MS": "answers",
    "*/envoy.yaml: * request_headers_timeout": "client",
    "*/envoy.yaml: * /v1/rooms/shop/events route *timeout": "stream",
    "*/envoy.yaml: * / route *timeout": "origin",
    "*/envoy.yaml: * route timeout": "answers",
    "*/envoy.yaml: * server_uri timeout": "answers",
    "*/envoy.yaml: * per_try_timeout": "answer",
    "*/envoy.yaml: * retry_back_off *_interval": "moment",
    "*/envoy.yaml: * connect_timeout": "connect",
    "*/envoy.yaml: * health_checks timeout": "answer",
    "*/envoy.yaml: * health_checks *interval": "look",
    "*/envoy.yaml: * outlier_detection *": "look",
    "*/traefik/waitroom.yaml: * retry initialInterval": "moment",
    "*/traefik/waitroom.yaml: * healthCheck timeout": "answer",
    "*/traefik/waitroom.yaml: * healthCheck interval": "look",
    "*/traefik/waitroom.yaml: * failureWindow": "look",
    "*/traefik/waitroom.yaml: * dialTimeout": "connect",
    "*/traefik/waitroom.yaml: * responseHeaderTimeout": "answer",
    "kubernetes/gateway.example.yaml: * timeouts request": "stream",
    "kubernetes/ingress-nginx.example.yaml: * nginx.ingress.kubernetes.io/proxy-*-timeout": "stream",
    "kubernetes/autoscaler.yaml: *": "other",
    "kubernetes/prometheus-rule.yaml: *": "other",
    "kubernetes/redis.yaml: * terminationGracePeriodSeconds": "store",
    "kubernetes/redis.yaml: *": "look",
    "kubernetes/*: * terminationGracePeriodSeconds": "stop",
    "kubernetes/*: * timeoutSeconds": "answer",
    "kubernetes/*: * periodSeconds": "look",
    "compose.yaml: services redis stop_grace_period": "store",
    "compose.yaml: services redis healthcheck start_period": "store",
    "compose.yaml: * stop_grace_period": "stop",
    "compose.yaml: * healthcheck timeout": "answer",
    "compose.yaml: * healthcheck *": "look",
    "Dockerfile: --timeout": "answer",
    "Dockerfile: --interval": "look",
    "Dockerfile: --start-period": "other",
    "systemd/redis-server*: Timeout*": "store",
    "systemd/*: TimeoutStopSec": "stop",
    "systemd/*: RestartSec": "look",
    "systemd/*: StartLimitIntervalSec": "other",
    "prometheus/*": "other",
    "grafana/*": "other",
    "redis/*": "other",
}

_UNITS: Final = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_TIME: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|min|m|h|)")
_NAME: Final = re.compile(r"(?i)time-?out|interval|period|duration|window|seconds$|_time$|sec$|inter$|tcp-keepalive")

#: Figures of Kubernetes and Docker that look like spans of time.
_SIZES: Final = {"cpu", "max-size"}


def seconds_of(text: object) -> float | None:
    """A span of time in seconds; None for what is none."""
    found = _TIME.fullmatch(str(text).strip('"'))
    return float(found[1]) * _UNITS[found[2]] if found else None


def _of_nginx(path: Path) -> Iterator[tuple[str, object]]:
    parsed = crossplane.parse(str(path), single=True, check_ctx=False, check_args=False)
    assert parsed["status"] == "ok", parsed["errors"]
    for config in parsed["config"]:
        yield from _of_block(config["parsed"], str(path.parent.name))


def _of_block(block: list[dict[str, Any]], way: str) -> Iterator[tuple[str, object]]:
    for line in block:
        name = f"{way} {line['directive']}"
        if _NAME.search(line["directive"]):
            yield name, line["args"][0]
        for argument in line["args"]:
            key, separator, value = argument.partition("=")
            if separator and _NAME.search(key) and line["directive"] != "default":  # a map's text
                yield f"{way} {key}", value
        yield from _of_block(line.get("block", []), " ".join([name, *line["args"]]))


def _of_yaml(path: Path) -> Iterator[tuple[str, object]]:
    for document in yaml.safe_load_all(path.read_text()):
        yield from _of_node(document, "")


def _of_node(node: Any, way: str) -> Iterator[tuple[str, object]]:
    if isinstance(node, list):
        for each in node:
            yield from _of_node(each, way)
    elif isinstance(node, dict):
        # An Envoy route is known by what it matches.
        match = node.get("match")
        way += "".join(f" {part['regex'] if isinstance(part, dict) else part}" for part in (match or {}).values())
        for key, value in node.items():
            here = f"{way} {key}"
            plain = not isinstance(value, dict | list | bool) and key not in _SIZES
            if plain and (_NAME.search(str(key)) or re.fullmatch(r"\d+(\.\d+)?(ms|s|m|h)", str(value))):
                yield here.strip(), value
            yield from _of_node(value, here)


def _of_lines(path: Path) -> Iterator[tuple[str, object]]:
    """Files without a parser here: every word that is a span of time, and every name that looks like one."""
    section = ""
    for line in path.read_text().splitlines():
        words = line.split("#")[0].split("--")[0].split()
        if not words:
            continue
        if path.suffix == ".cfg" and not line[0].isspace():
            section = f"{line.strip()} "
        for place, word in enumerate(words):
            if re.fullmatch(r"\d+(\.\d+)?(ms|s|m|h)", word) or (
                word.isdigit() and any(map(_NAME.search, words[:place]))
            ):
                rest = "" if words[0] == "timeout" or place + 1 == len(words) else f" {' '.join(words[place + 1 :])}"
                yield f"{section}{' '.join(words[:place]).removesuffix(' =')}{rest}".removeprefix("local "), word


def _of_lua(path: Path) -> Iterator[tuple[str, object]]:
    return ((name, f"{value}ms") for name, value in re.findall(r"(\w*TIMEOUT_MS) = (\d+)", path.read_text()))


def _of_unit(path: Path) -> Iterator[tuple[str, object]]:
    return ((name, value) for name, value in units.Unit(path).pairs() if _NAME.search(name))


def _of_dockerfile(path: Path) -> Iterator[tuple[str, object]]:
    (line,) = re.findall(r"(?m)^HEALTHCHECK (.*?) CMD", path.read_text())
    return (pair for pair in re.findall(r"(--\S+)=(\S+)", line) if _NAME.search(pair[0]))


READERS: Final[dict[str, Callable[[Path], Iterator[tuple[str, object]]]]] = {
    ".conf": _of_nginx,
    ".example": _of_nginx,
    ".yaml": _of_yaml,
    ".yml": _of_yaml,
    ".cfg": _of_lines,
    "Caddyfile": _of_lines,
    ".lua": _of_lua,
    ".service": _of_unit,
    "Dockerfile": _of_dockerfile,
}


def _reader(path: Path) -> Callable[[Path], Iterator[tuple[str, object]]] | None:
    if path.parent.name == "redis-server.service.d":
        return _of_unit
    if path.parent.name == "redis":
        return _of_lines
    return READERS.get(path.suffix or path.name)


def every() -> Iterator[tuple[str, object]]:
    """Each time-out of each file of deploy/."""
    for path in sorted(project.DEPLOY.rglob("*")):
        reader = _reader(path) if path.is_file() else None
        for way, value in reader(path) if reader else ():
            yield f"{path.relative_to(project.DEPLOY)}: {way}", value


EVERY: Final = list(every())


def kind_of(name: str) -> str | None:
    """What the table says of it."""
    literal = name.replace("[", "(")
    return next((kind for pattern, kind in TABLE.items() if fnmatchcase(literal, pattern)), None)


@pytest.mark.parametrize(("name", "value"), EVERY, ids=[name for name, _ in EVERY])
def test_a_timeout_is_known_and_long_enough(name: str, value: object) -> None:
    """It is in the table, and what it ends has had the time that an instance or a visitor may take."""
    kind, seconds = kind_of(name), seconds_of(value)
    assert kind is not None, f"{name} is new: say in TABLE what it ends"
    if kind != "other":
        assert seconds is not None, f"{name}: {value!r} is no span of time"
        assert KINDS[kind](seconds), f"{name}: {value} does not do for {kind!r}"


def test_every_row_is_about_something() -> None:
    """No row of the table is left over."""
    literal = [name.replace("[", "(") for name, _ in EVERY]
    assert [pattern for pattern in TABLE if not any(fnmatchcase(name, pattern) for name in literal)] == []


@pytest.mark.parametrize("path", [path for path in project.DEPLOY.rglob("*") if path.is_file()], ids=str)
def test_no_file_with_a_timeout_is_left_out(path: Path) -> None:
    """A kind of file that no reader is for has none."""
    if _reader(path) is None and path.suffix not in {".md", ".json", ".sh", ".py", ".pyc", ".toml", ".go"}:
        assert not re.search(r"(?i)time-?out", path.read_text())
