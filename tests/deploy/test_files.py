"""Every file of deploy/: it parses, and what it names exists, in the tree or in the program."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.deploy import project, units
from tests.deploy.image import Image
from waitroom import __version__
from waitroom.serve import workers
from waitroom.settings import sources
from waitroom.settings.server import ServerSettings
from waitroom.store import url

#: Keys good enough for production.
KEYS: Final = {
    "WAITROOM_ADMIN_KEY": "0123456789abcdefghij-ABCDEFGHIJ0",
    "WAITROOM_SIGNING_KEYS": "k1:0123456789abcdefghij-ABCDEFGHIJ0",
}


def shipped() -> list[Path]:
    """The files of deploy/, as paths below it."""
    files = (path for path in project.DEPLOY.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return sorted(path.relative_to(project.DEPLOY) for path in files)


def text_of(file: Path) -> str:
    """A file's text."""
    return (project.DEPLOY / file).read_text(encoding="utf-8")


def _shell(file: Path) -> object:
    return subprocess.run(["/bin/sh", "-n", str(project.DEPLOY / file)], check=True, capture_output=True)


#: What compose.yaml itself reads, and hands to no container.
COMPOSES_OWN: Final = {"WAITROOM_HTTP_PORT"}

#: How each kind of file is read; what is not here has a test of its own, or is prose.
PARSERS: Final[dict[str, Callable[[Path], object]]] = {
    ".yaml": lambda file: list(yaml.safe_load_all(text_of(file))),
    ".yml": lambda file: list(yaml.safe_load_all(text_of(file))),
    ".json": lambda file: json.loads(text_of(file)),
    ".toml": lambda file: tomllib.loads(text_of(file)),
    ".service": lambda file: units.Unit(project.DEPLOY / file),
    ".py": lambda file: compile(text_of(file), str(file), "exec"),
    ".sh": _shell,
}


@pytest.mark.parametrize("file", [file for file in shipped() if file.suffix in PARSERS], ids=str)
def test_every_file_parses(file: Path) -> None:
    """In its own format, and it says something."""
    assert PARSERS[file.suffix](file)


@pytest.mark.parametrize("file", shipped(), ids=str)
def test_every_variable_is_a_setting(file: Path) -> None:
    """A WAITROOM_... that nobody reads would be believed to do something."""
    named = set(re.findall(r"\bWAITROOM_[A-Z][A-Z_]*[A-Z]\b", text_of(file)))
    assert named - COMPOSES_OWN <= project.variables()


@pytest.mark.parametrize("file", [file for file in shipped() if file.suffix == ".md"], ids=str)
def test_links_lead_somewhere(file: Path) -> None:
    """Every relative link is a file or folder of the project."""
    links = [link for link in re.findall(r"\]\(([^)#]+)", text_of(file)) if "://" not in link]
    assert [link for link in links if not (project.DEPLOY / file.parent / link).exists()] == []


# deploy/README.md, and the pages about running waitroom

README: Final = text_of(Path("README.md"))
HOW_TO: Final = project.ROOT / "docs" / "how-to"
PAGES: Final = [
    (HOW_TO / f"{name}.md").read_text(encoding="utf-8")
    for name in ("containers", "keys", "kubernetes", "on-sale", "redis", "systemd", "trouble", "upgrade")
]
TEXT: Final = "\n".join([README, *PAGES])
BLOCKS: Final = [block for page in PAGES for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL)]
SPANS: Final = re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL))

#: What compose/init.sh makes.
MADE: Final = {"deploy/.env", "deploy/compose/secrets"}


def test_the_map_shows_every_folder() -> None:
    """Each folder has its line for a reader on the way to production."""
    folders = {file.parts[0] for file in shipped() if len(file.parts) > 1} - {"compose"}
    assert [folder for folder in sorted(folders) if f"| [{folder}/]({folder}/" not in README] == []


def test_the_commands_of_the_pages_exist() -> None:
    """`waitroom ...` with its arguments, `make ...` and the installer's options, wherever they stand."""
    words = [shlex.split(span) for span in SPANS if re.match(r"waitroom [a-z-]+ [^…]+$", span)]
    assert words
    assert [found for found in words if project.faults_of_command(found[1:])] == []
    targets = set(re.findall(r"^([a-z-]+):", (project.ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", TEXT, re.MULTILINE)) <= targets
    usage = subprocess.run(
        [project.DEPLOY / "systemd/install.sh", "--help"], check=True, capture_output=True, text=True
    )
    assert set(re.findall(r"install\.sh\s+(--[a-z-]+)", TEXT)) <= set(re.findall(r"--[a-z-]+", usage.stdout))


def test_the_files_and_addresses_of_the_pages_exist() -> None:
    """Paths below deploy/, addresses of an instance, and this version."""
    paths = {path.rstrip(".") for path in re.findall(r"\bdeploy/[A-Za-z0-9_./-]+", TEXT)}
    assert paths
    named = {path for path in paths if not any(path == made or path.startswith(f"{made}/") for made in MADE)}
    assert [path for path in sorted(named) if not list(project.ROOT.glob(f"{path}*"))] == []
    addresses = re.findall(r"http://127\.0\.0\.1:(\S+?)(/[\w/-]+)", TEXT)
    assert addresses
    for port, path in addresses:
        assert port in (str(ServerSettings().port), "$port", "8001", "8010")
        assert project.is_answered(path)
    assert set(re.findall(r"waitroom:([0-9]+\.[0-9.]*[0-9])", TEXT)) == {__version__}


def test_the_shell_of_the_pages_is_shell() -> None:
    """Each block is read by sh, which runs nothing of it."""
    for block in BLOCKS:
        subprocess.run(["/bin/sh", "-n"], input=block.encode(), check=True, capture_output=True)


def test_the_secrets_that_a_page_makes_for_kubernetes_are_good(tmp_path: Path) -> None:
    """The block, run: every key that the manifests ask for, and each good enough for production."""
    (block,) = (block for block in BLOCKS if '>"$secrets/users.acl"' in block)
    users = project.DEPLOY / "redis" / "users.acl"
    script = f'{block}mv "$secrets" "{tmp_path}/made"\n'
    subprocess.run(["/bin/sh", "-euc", script], check=True, cwd=project.ROOT)
    made = {file.name: file.read_text() for file in (tmp_path / "made").iterdir()}
    wanted = project.documents(project.DEPLOY / "kubernetes/secret.example.yaml")[0]["stringData"]
    assert made.keys() == wanted.keys()
    keys = {"WAITROOM_ADMIN_KEY": made["admin-key"], "WAITROOM_SIGNING_KEYS": made["signing-keys"]}
    assert sources.load(environment={**keys, "WAITROOM_PRODUCTION": "true"}).signing_keys == [made["signing-keys"]]
    hashed = hashlib.sha256(url.password_in(made["redis-password"].encode()).encode()).hexdigest()
    assert f" #{hashed} " in made["users.acl"]
    assert len(made["users.acl"].splitlines()) == len(users.read_text().splitlines())


# deploy/compose.yaml


COMPOSE: Final[dict[str, Any]] = project.documents(project.DEPLOY / "compose.yaml")[0]
SERVICES: Final[dict[str, dict[str, Any]]] = COMPOSE["services"]


def mounts(service: dict[str, Any]) -> list[tuple[str, str]]:
    """Source and target of each volume."""
    return [(source, target) for source, target, *_ in (text.split(":") for text in service.get("volumes", []))]


def test_grafana_asks_composes_prometheus() -> None:
    """By its name; that both start together is held by test_cluster.py."""
    (source,) = project.documents(project.DEPLOY / "grafana/provisioning/datasources/prometheus.yml")[0]["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in SERVICES


def test_composes_mounts_lead_to_files_that_are_there() -> None:
    """Each source is of the tree, or a volume that is declared; targets are where the programs look."""
    for service in SERVICES.values():
        for source, _ in mounts(service):
            if source.startswith((".", "/")):
                assert (project.DEPLOY / source).exists(), source
            else:
                assert source in COMPOSE["volumes"], source
    prometheus, grafana = SERVICES["prometheus"], SERVICES["grafana"]
    for wanted in ("prometheus.yml", "alerts.yml"):
        assert seen(prometheus, f"/etc/prometheus/{wanted}") == project.DEPLOY / "prometheus" / wanted
    for wanted in ("provisioning/datasources/prometheus.yml", "provisioning/dashboards/waitroom.yml"):
        assert seen(grafana, f"/etc/grafana/{wanted}") == project.DEPLOY / "grafana" / wanted
    board = "dashboards/waitroom.json"
    assert seen(grafana, f"/var/lib/grafana/{board}") == project.DEPLOY / "grafana" / board


def seen(service: dict[str, Any], path: str) -> Path | None:
    """The file of the tree that a container sees at a path: by the longest target that holds it."""
    held = [(target, source) for source, target in mounts(service) if Path(path).is_relative_to(target)]
    if not held:
        return None
    target, source = max(held, key=lambda mount: len(mount[0]))
    return (project.DEPLOY / source / Path(path).relative_to(target)).resolve()


def test_composes_instances_run_as_the_image_means_it() -> None:
    """Built from the Dockerfile, with a command and variables that exist, and folders to write to."""
    service = SERVICES["waitroom"]
    build = service["build"]
    context = (project.DEPLOY / build["context"]).resolve()
    assert context == project.ROOT
    assert (context / build["dockerfile"]).resolve() == project.DEPLOY / "Dockerfile"
    assert service["image"] == f"waitroom:{__version__}"
    assert "entrypoint" not in service
    assert project.faults_of_command(service["command"]) == []
    assert service["environment"].keys() <= project.variables()
    config = service["command"][service["command"].index("--config") + 1]
    given = {name: value for name, value in service["environment"].items() if not re.search("[$]|^/run/", value)}
    loaded = sources.load(seen(service, config), environment={**given, **KEYS})
    assert loaded.production
    assert loaded.rooms
    assert url.parse(loaded.redis_url).hosts == (("redis", 6379),)
    if service["read_only"]:
        writable = {entry.partition(":")[0] for entry in service["tmpfs"]} | {target for _, target in mounts(service)}
        assert {"/var/lib/waitroom", "/tmp"} <= writable  # noqa: S108 - a path in a container


def test_composes_instances_can_be_as_many_as_one_likes() -> None:
    """Nothing that only one container can have; the health check is the image's; stopping leaves time to drain."""
    service = SERVICES["waitroom"]
    assert not service.keys() & {"container_name", "ports", "healthcheck", "hostname"}
    config = seen(service, service["command"][service["command"].index("--config") + 1])
    drain = sources.load(config, environment={}).drain_seconds
    assert drain > 0
    assert units.in_seconds(service["stop_grace_period"]) >= drain + workers.GRACE_SECONDS + 5


def test_composes_networks_and_secrets_are_declared() -> None:
    """Who reaches whom is held by test_cluster.py; here that nothing is missing or left over."""
    attached = {name: set(service["networks"]) for name, service in SERVICES.items()}
    assert set().union(*attached.values()) == COMPOSE["networks"].keys()
    assert attached["grafana"] & attached["prometheus"]
    for name in attached["waitroom"]:
        assert COMPOSE["networks"][name] == {"internal": True}
    used = {secret for service in SERVICES.values() for secret in service.get("secrets", [])}
    assert used == COMPOSE["secrets"].keys()
    made = text_of(Path("compose/init.sh"))
    for secret in COMPOSE["secrets"].values():
        assert Path(secret["file"]).name in made


def test_composes_nginx_is_the_shipped_one() -> None:
    """It listens where the port leads to, looks for instances and origin by the services' names, and has its files."""
    service = SERVICES["nginx"]
    text = text_of(Path("compose/nginx.conf"))
    (port,) = service["ports"]
    assert re.search(rf"^ +listen {port.rpartition(':')[2]};", text, re.MULTILINE)
    assert re.search(rf"server waitroom:{ServerSettings().port} resolve", text)
    (origin, origins_port) = re.findall(r"server (origin):([0-9]+) resolve", text)[0]
    shop = SERVICES["shop"]
    assert origin in shop["networks"]["site"]["aliases"]
    assert origins_port in shop["command"]
    copied = [word for word in service["build"]["dockerfile_inline"].split() if "/" in word][:-1]
    present = {path.name for pattern in copied for path in project.DEPLOY.glob(pattern)}
    (made,) = re.findall(r">(\S+);", " ".join(service["command"]))
    assert set(re.findall(r"include (\S+);", text)) <= present | {made}


def test_composes_redis_keeps_the_queue() -> None:
    """Append-only file, no eviction, users from a file, a volume; and the same in Kubernetes."""
    service = SERVICES["redis"]
    options = dict(zip(service["command"][::2], service["command"][1::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--maxmemory-policy"] == "noeviction"
    assert options["--aclfile"] == "/run/secrets/users.acl"
    assert (options["--dir"], [target for _, target in mounts(service)]) == ("/data", ["/data"])


def test_composes_services_wait_for_services() -> None:
    """What one depends on is there."""
    for service in SERVICES.values():
        assert set(service.get("depends_on", {})) <= SERVICES.keys()


@pytest.mark.timeout(900)  # the image is built first
def test_the_origin_of_the_demo_runs_in_the_image(image: Image) -> None:
    """The image has what the shop needs, though not all that the demo on one machine does."""
    module = SERVICES["shop"]["entrypoint"][2]
    command = [str(image.at("/opt/waitroom/bin/python")), "-c", f"import {module}"]
    done = subprocess.run(command, capture_output=True, text=True, env={}, cwd="/")
    assert (done.returncode, done.stderr) == (0, "")
