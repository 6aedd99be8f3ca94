"""compose.yaml and the same topology as plain processes (`make cluster`): who reaches whom, and that it runs.

That what compose.yaml names exists is held by test_files.py.
"""

from __future__ import annotations

import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil
import pytest
from dnslib import RCODE, DNSRecord
from redis import Redis
from redis.exceptions import AuthenticationError
from redis.exceptions import ConnectionError as RedisConnectionError

from rig.composed import MOST_INSTANCES, name_servers, write_configuration
from rig.edits import exchanged
from rig.machine import missing
from rig.names import Names
from rig.ports import free_port
from rig.process import Process
from rig.servers import program
from rig.waiting import PATIENCE_SECONDS, until
from tests.deploy import project
from tests.deploy.worlds import accepted, gixy
from waitroom.demo.nginx import configuration_folder
from waitroom.settings import sources

DEPLOY: Final = project.DEPLOY
COMPOSE: Final[dict[str, Any]] = project.documents(DEPLOY / "compose.yaml")[0]
SERVICES: Final[dict[str, dict[str, Any]]] = COMPOSE["services"]
TEXT: Final = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")


# deploy/compose.yaml


def test_only_nginx_is_published() -> None:
    """And Grafana, for whoever sits at this machine."""
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"nginx": ["${WAITROOM_HTTP_PORT:-8080}:8080"], "grafana": ["127.0.0.1:3000:3000"]}


def test_who_reaches_whom() -> None:
    """Only the instances reach Redis, only nginx and Prometheus the instances, only nginx the origin."""
    on = {
        network: {name for name, service in SERVICES.items() if network in service["networks"]}
        for network in COMPOSE["networks"]
    }
    assert on["store"] == {"redis", "waitroom"}
    assert on["gate"] == {"nginx", "waitroom", "prometheus"}
    assert on["site"] == {"nginx", "shop"}
    assert on["outside"] == {"nginx", "grafana"}
    open_ones = {name for name, network in COMPOSE["networks"].items() if not network.get("internal")}
    assert open_ones == {"outside"}
    assert all("network_mode" not in service for service in SERVICES.values())


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_has_no_more_than_it_needs(name: str) -> None:
    """Read-only, without capabilities, started again, its log bounded."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}


def test_what_is_for_a_try_or_for_watching_starts_on_demand_only() -> None:
    """By profile."""
    profiles = {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service}
    assert profiles == {"shop": ["demo"], "prometheus": ["monitoring"], "grafana": ["monitoring"]}
    assert SERVICES["shop"]["networks"]["site"]["aliases"] == ["origin"]


def test_without_its_secrets_nothing_starts() -> None:
    """No variable that holds one has a default, and each says what it is for."""
    wanted = re.findall(r"\$\{(WAITROOM_[A-Z_]+):\?([^}]+)\}", TEXT)
    assert {name for name, _ in wanted} == {"WAITROOM_ADMIN_KEY", "WAITROOM_SIGNING_KEYS", "WAITROOM_PUBLIC_URL"}
    assert set(re.findall(r"\$\{([A-Z_]+)", TEXT)) - {name for name, _ in wanted} == {"WAITROOM_HTTP_PORT"}
    for service in SERVICES.values():
        assert set(service.get("secrets", [])) <= COMPOSE["secrets"].keys()
        assert not [value for value in service.get("command", []) if "password" in str(value)]


def test_nginx_gets_every_shipped_file() -> None:
    """Its image is made of them, and its builder sees nothing else, in particular no secrets."""
    *_, copy = SERVICES["nginx"]["build"]["dockerfile_inline"].strip().splitlines()
    word, *sources, target = copy.split()
    assert (word, target) == ("COPY", "/etc/nginx/")
    found = {file.name for source in sources for file in DEPLOY.glob(source)}
    assert found == {file.name for file in configuration_folder().glob("waitroom-*.conf")} | {
        "nginx.conf",
        "name-servers.sh",
    }
    ignored = (DEPLOY / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert [line for line in ignored if not line.startswith("#")] == ["*", "!nginx", "!compose/nginx.conf"]


def test_every_engine_knows_the_mount_options() -> None:
    """Docker takes any option of the kernel's for a tmpfs, podman 4.3 only some: uid and gid are not among them."""
    known = {"mode", "size", "noexec", "nosuid", "nodev", "ro", "rw"}
    for service in SERVICES.values():
        for mount in service.get("tmpfs", []):
            _, _, options = mount.partition(":")
            assert {option.partition("=")[0] for option in options.split(",")} <= known, mount


@pytest.mark.parametrize(
    ("given", "said"),
    {
        "nameserver 127.0.0.11\noptions ndots:0\n": "127.0.0.11",  # Docker
        "search dns.podman\nnameserver 10.89.0.1\nnameserver 10.89.1.1\n": "10.89.0.1 10.89.1.1",  # podman
        "search a.svc\nnameserver 169.254.20.10\n": "169.254.20.10",  # NodeLocal DNSCache
        "nameserver fd00::a\nnameserver fe80::1%eth0\n": "[fd00::a]",
    }.items(),
)
def test_nginx_asks_the_name_servers_of_its_container(given: str, said: str) -> None:
    """Whichever engine runs it."""
    assert name_servers(given) == f"resolver {said} valid=1s ipv6=off;\n"
    (_, _, command) = SERVICES["nginx"]["command"]
    assert "name-servers.sh </etc/resolv.conf >/tmp/resolver.conf;" in command
    assert "include /tmp/resolver.conf;" in (DEPLOY / "compose" / "nginx.conf").read_text(encoding="utf-8")


def test_without_a_name_server_nginx_does_not_start() -> None:
    """It would find no instance, and say so only at the first visitor."""
    with pytest.raises(subprocess.CalledProcessError):
        name_servers("search example.com\n")


def test_redis_starts_with_what_it_is_given(tmp_path: Path) -> None:
    """A real server understands the command, and keeps what it is told."""
    wanted = {"maxmemory-policy": "noeviction", "appendonly": "yes", "save": "", "maxmemory": str(512 * 1024 * 1024)}
    at = tmp_path / "s"
    (tmp_path / "users.acl").write_text("user default on nopass ~* +@all\n")
    paths = {"/data": str(tmp_path), "/run/secrets/users.acl": str(tmp_path / "users.acl")}
    command = [paths.get(part, part) for part in SERVICES["redis"]["command"]]
    where = ["--port", "0", "--unixsocket", str(at), "--logfile", str(tmp_path / "log")]
    with (
        Process("redis", [program(), *command, *where], folder=tmp_path) as server,
        Redis(unix_socket_path=str(at), decode_responses=True, protocol=2) as client,
    ):
        server.until(lambda: answers(client))
        found = {name: client.config_get(name)[name] for name in wanted}
    assert found == wanted
    # Twice as much memory as the data may take.
    assert SERVICES["redis"]["deploy"]["resources"]["limits"]["memory"] == "1G"


# deploy/compose/nginx.conf


def test_its_nginx_accepts_the_file_without_a_warning(tmp_path: Path) -> None:
    """With other ports and paths, nothing else; found by name and by address."""
    for instances in (["waitroom:8000"], ["127.0.1.1:8000", "127.0.1.2:8000"]):
        main = write_configuration(
            tmp_path / instances[0], port=free_port(), resolver="127.0.0.1:53", origin=9000, instances=instances
        )
        assert "[warn]" not in accepted(main)


def test_gixy_finds_nothing_in_it(tmp_path: Path) -> None:
    """With all of its checks."""
    main = write_configuration(tmp_path, port=8080, resolver="127.0.0.11", origin=9000, instances=["waitroom:8000"])
    assert gixy(main) == ""


def test_it_says_what_the_example_of_a_site_says() -> None:
    """Every directive of the example's upstreams and first server, under the containers' names."""
    example = (configuration_folder() / "site.conf.example").read_text(encoding="utf-8")
    site = example[: example.index("# A client that asks for another name")]
    wanted = {line.partition("#")[0].strip() for line in site.splitlines()} - {"", "{", "}"}
    ours = (
        (DEPLOY / "compose" / "nginx.conf").read_text(encoding="utf-8").replace("http://origin", "http://shop_origin")
    )
    differs = re.compile(r"upstream |zone shop_origin|server |listen |server_name |proxy_cache_path ")
    assert [line for line in sorted(wanted) if not differs.match(line) and line not in ours] == []
    parameters = set(re.findall(r"max_fails=\S+ fail_timeout=\S+;", example))
    assert parameters == set(re.findall(r"max_fails=\S+ fail_timeout=\S+;", ours))


def test_an_instance_drains_for_longer_than_nginx_passes_over_it() -> None:
    """So that of instances restarted in turn the last is back before the next one goes."""
    drain = sources.load(DEPLOY / "compose" / "waitroom.toml", environment={}).drain_seconds
    passed_over = re.search(r"fail_timeout=(\d+)s", (DEPLOY / "compose" / "nginx.conf").read_text(encoding="utf-8"))
    assert passed_over is not None
    assert drain > int(passed_over[1])


def test_a_file_that_lost_a_line_is_not_taken() -> None:
    """The cluster would else run something else than it says."""
    with pytest.raises(ValueError, match="'listen 8080;'"):
        exchanged("listen 80;", {"listen 8080;": "listen 1;"})


# deploy/compose/init.sh


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The part of the tree that init.sh works in."""
    for part in ("compose/init.sh", "redis/users.acl"):
        (tmp_path / "deploy" / part).parent.mkdir(parents=True)
        shutil.copy(DEPLOY / part, tmp_path / "deploy" / part)
    return tmp_path / "deploy"


def init(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it."""
    command = ["/bin/sh", str(tree / "compose" / "init.sh"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)


def test_init_makes_all_that_compose_wants(tree: Path) -> None:
    """Keys that production accepts, every secret, and nobody else can read them."""
    assert init(tree, "https://shop.example.com").returncode == 0
    lines = (tree / ".env").read_text(encoding="ascii").splitlines()
    environment = dict(line.split("=", 1) for line in lines)
    assert environment.keys() == wanted_variables()
    loaded = sources.load(None, environment={**environment, "WAITROOM_PRODUCTION": "true"})
    assert loaded.public_url == "https://shop.example.com"
    made = {Path(secret["file"]).name for secret in COMPOSE["secrets"].values()}
    assert {file.name for file in (tree / "compose" / "secrets").iterdir()} == made
    assert stat.S_IMODE((tree / ".env").stat().st_mode) == 0o600
    assert stat.S_IMODE((tree / "compose" / "secrets").stat().st_mode) == 0o700


def test_init_makes_different_keys_each_time_and_overwrites_none(tree: Path) -> None:
    """A second run changes nothing."""
    assert init(tree, "http://localhost:8080").returncode == 0
    before = (tree / ".env").read_bytes()
    again = init(tree, "http://localhost:8080")
    assert (again.returncode, "exists already" in again.stderr) == (1, True)
    assert (tree / ".env").read_bytes() == before
    (tree / ".env").unlink()
    shutil.rmtree(tree / "compose" / "secrets")
    assert init(tree, "http://localhost:8080").returncode == 0
    assert (tree / ".env").read_bytes() != before


@pytest.mark.parametrize(
    "address", ["", "shop.example.com", "https://", "https://a/b", "https://a b", "https://a\nB=c"]
)
def test_init_takes_an_address_only(tree: Path, address: str) -> None:
    """It goes into a file of variables."""
    done = init(tree, address)
    assert (done.returncode, "is not an address" in done.stderr) == (2, True)
    assert not (tree / ".env").exists()


def test_redis_knows_the_user_that_init_made(tree: Path, tmp_path: Path) -> None:
    """With the password from the file, and nobody without; the health check's PING is among what the user may do."""
    assert init(tree, "http://localhost:8080").returncode == 0
    made, at = tree / "compose" / "secrets", tmp_path / "s"
    command = [str(program()), "--port", "0", "--unixsocket", str(at), "--save", "", "--dir", str(tmp_path)]
    with Process("redis", [*command, "--aclfile", made / "users.acl"], folder=tmp_path) as server:
        password = (made / "redis-password").read_text(encoding="ascii").strip()
        with Redis(unix_socket_path=str(at), username="waitroom", password=password, protocol=2) as client:
            server.until(lambda: answers(client))
        with Redis(unix_socket_path=str(at), protocol=2) as nobody, pytest.raises(AuthenticationError):
            nobody.ping()


def answers(client: Redis) -> bool:
    """Whether it answers PING; what it refuses is an error."""
    try:
        return bool(client.ping())
    except RedisConnectionError as error:
        if isinstance(error, AuthenticationError):
            raise
        return False


def wanted_variables() -> set[str]:
    """What compose.yaml must be given."""
    return set(re.findall(r"\$\{([A-Z_]+):\?", TEXT))


# rig/composed.py and deploy/cluster.py


def test_the_name_server_answers_from_the_table() -> None:
    """The addresses of now; a name that is not there does not exist; IPv6 has none; noise is passed over."""
    table = {"waitroom": ["127.0.1.1", "127.0.1.2"], "nobody": []}
    with Names(lambda name: table.get(name, [])) as names:
        assert asked(names, "waitroom") == (RCODE.NOERROR, ["127.0.1.1", "127.0.1.2"])
        table["waitroom"] = [f"127.0.1.{number}" for number in range(1, MOST_INSTANCES + 1)]
        assert asked(names, "waitroom") == (RCODE.NOERROR, table["waitroom"])
        assert asked(names, "waitroom", kind="AAAA") == (RCODE.NOERROR, [])
        assert asked(names, "nobody") == asked(names, "other.example") == (RCODE.NXDOMAIN, [])
        with socket.socket(type=socket.SOCK_DGRAM) as noise:
            noise.sendto(b"\xff" * 7, reached(names))
        assert asked(names, "waitroom")[0] == RCODE.NOERROR


def reached(names: Names) -> tuple[str, int]:
    """Where a name server listens."""
    host, _, port = names.address.partition(":")
    return host, int(port)


def asked(names: Names, name: str, *, kind: str = "A") -> tuple[int, list[str]]:
    """Code and addresses of an answer, which fits into the 512 bytes that every client takes."""
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE_SECONDS)
        client.sendto(DNSRecord.question(name, kind).pack(), reached(names))
        reply = DNSRecord.parse(client.recv(512))
    return reply.header.rcode, [str(record.rdata) for record in reply.rr]


@dataclass
class Typed:
    """A running `cluster.py`, to which lines can be typed."""

    process: subprocess.Popen[str]
    url: str
    heard: list[str] = field(default_factory=list)

    def until(self, words: str) -> None:
        """Read what it says until there is a line with these words."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.heard.append(line)
            if words in line:
                return
        pytest.fail(f"it ended without {words!r}:\n{''.join(self.heard)}")

    def type(self, line: str) -> None:
        """Type a line and Enter."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()


@contextmanager
def cluster(folder: Path, *options: str) -> Iterator[Typed]:
    """Run cluster.py with one instance; it is killed at the end, if it still runs."""
    if sys.platform != "linux":
        missing("Linux")
    port = free_port()
    command = [sys.executable, str(DEPLOY / "cluster.py"), "--port", str(port), "--data-dir", str(folder), *options]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield Typed(process, f"http://127.0.0.1:{port}")
        finally:
            process.kill()


def descendants(pid: int) -> list[psutil.Process]:
    """The processes that a process started, and those that these did."""
    found: list[psutil.Process] = psutil.Process(pid).children(recursive=True)
    return found


def test_it_is_scaled_by_typing_and_leaves_nothing(tmp_path: Path) -> None:
    """A number and Enter; Ctrl-C ends all of it in order."""
    with cluster(tmp_path, "--instances", "1") as typed:
        typed.until("type a number")
        with urllib.request.urlopen(f"{typed.url}/", timeout=PATIENCE_SECONDS) as answer:
            assert answer.headers["X-Origin"] == "demo"
        typed.type("some")
        typed.until("'some' is neither a number nor r")
        typed.type("99")
        typed.until("99 instances: choose a number from 1 to 20")
        typed.type("2")
        typed.until("waitroom-2 (127.0.1.2) is ready")
        typed.until("2 running")
        started = descendants(typed.process.pid)
        assert len(started) >= 8
        typed.process.send_signal(signal.SIGINT)
        assert typed.process.wait(PATIENCE_SECONDS) == 0
        until(lambda: not [each for each in started if each.is_running()], "the end of all")


def test_nothing_outlives_it_when_it_is_killed(tmp_path: Path) -> None:
    """SIGKILL: the others end by themselves."""
    with cluster(tmp_path, "--instances", "1") as typed:
        typed.until("type a number")
        started = descendants(typed.process.pid)
        assert len(started) >= 6
        typed.process.kill()
        until(lambda: not [each for each in started if each.is_running()], "the end of all")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--instances", "0"], "0 instances: choose a number from 1 to 20"),
        (["--instances", "21"], "21 instances: choose a number from 1 to 20"),
        (["--port", "99999"], "port 99999 does not exist"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(tmp_path: Path, options: list[str], sentence: str) -> None:
    """And nothing is started."""
    with cluster(tmp_path, *options) as typed:
        typed.until(sentence)
        assert typed.process.wait(PATIENCE_SECONDS) == 1
        assert "Traceback" not in "".join(typed.heard)
