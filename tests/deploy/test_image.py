"""The Dockerfile: what it says, and its commands run without a container engine, to a server that ends in order."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from rig.ports import free_port
from rig.waiting import PATIENCE_SECONDS, until
from tests.deploy import project
from tests.deploy.image import DOCKERFILE, Image, identity, ignored, parsed, said
from waitroom import __version__
from waitroom.settings.server import ServerSettings


def test_the_image_runs_waitroom_as_nobody_in_particular() -> None:
    """A fixed number as user, no shell before the program, and a command that exists."""
    assert re.fullmatch(r"([1-9][0-9]{3,}):\1", said("USER").rest)
    entry = said("ENTRYPOINT").listed
    assert entry == ["waitroom"]
    assert project.faults_of_command([*entry, *said("CMD").listed][1:]) == []


def test_the_image_says_where_it_listens_and_where_it_writes() -> None:
    """The port is the program's default; variables are settings; the only volume is the data folder."""
    variables = said("ENV").pairs
    ours = {name: value for name, value in variables.items() if name.startswith("WAITROOM_")}
    assert ours.keys() <= project.variables()
    assert ours["WAITROOM_HOST"] == "0.0.0.0"
    assert "WAITROOM_PORT" not in ours
    assert int(said("EXPOSE").rest) == ServerSettings().port
    assert said("VOLUME").rest == ours["WAITROOM_DATA_DIR"] == said("WORKDIR").rest


def test_nothing_but_pip_asks_the_network() -> None:
    """Neither a download nor a package manager; every stage is from the one base, which a digest can pin."""
    words = [(instruction.word, instruction.rest) for instruction in parsed()]
    assert {rest.partition(" AS ")[0] for word, rest in words if word == "FROM"} == {"${BASE}"}
    assert not [rest for word, rest in words if word == "ADD" or ("--from=" in rest and "--from=build" not in rest)]
    runs = [rest for word, rest in words if word == "RUN"]
    assert not [run for run in runs if re.search(r"curl|wget|apt|https?:|git ", run)]
    installs = [run for run in runs if " install " in run and " pip" in run]
    assert len(installs) == 2
    assert all(" -c constraints.txt " in run for run in installs)


def test_the_labels_tell_this_version() -> None:
    """The image says which version is in it, as the readme's command does."""
    labels = said("LABEL").pairs
    assert labels["org.opencontainers.image.version"] == __version__
    assert f"-t waitroom:{__version__} ." in DOCKERFILE.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("context", "path", "kept"),
    [
        ("", "waitroom/cli/main.py", True),
        ("", "waitroom/web/page/assets/wait.css", True),
        ("", "lua/enter.lua", True),
        ("", "deploy/nginx/waitroom-gate.conf", True),
        ("", "constraints.txt", True),
        ("", "waitroom/cli/__pycache__/main.cpython-311.pyc", False),
        ("", "deploy/Dockerfile", False),
        ("", "deploy/systemd/install.sh", False),
        ("", "waitroom-data/admin-key", False),
        ("", ".git/config", False),
        ("", ".venv/bin/python", False),
        ("", ".env", False),
        ("", "tests/conftest.py", False),
        # compose.yaml builds its nginx from this folder, which also holds what init.sh makes.
        ("deploy", "nginx/waitroom-http.conf", True),
        ("deploy", "compose/nginx.conf", True),
        ("deploy", ".env", False),
        ("deploy", "compose/secrets/redis-password", False),
    ],
)
def test_only_the_sources_reach_the_builder(context: str, path: str, kept: bool) -> None:
    """Keys, data and history stay outside, also those that nobody thought of."""
    assert ignored(project.ROOT / context).matches(path) is not kept


# Its commands, run.


def inside(image: Image, words: list[str], *, port: int) -> subprocess.Popen[bytes]:
    """A process as the engine would start it: the image's environment and user, nothing else."""
    environment = {name: image.environment[name] for name in said("ENV").pairs} | {"WAITROOM_PORT": str(port)}
    program = shutil.which(words[0], path=environment["PATH"])
    assert program is not None
    return subprocess.Popen(
        [program, *words[1:]],
        env=environment,
        cwd=image.at("."),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        **identity(),
    )


def health(image: Image, port: int) -> int:
    """The exit code of the health check."""
    with inside(image, said("HEALTHCHECK").listed, port=port) as process:
        process.communicate(timeout=PATIENCE_SECONDS)
    return process.returncode


@pytest.mark.system
@pytest.mark.timeout(900)
def test_the_image_serves_is_healthy_and_ends_in_order(image: Image) -> None:
    """As an ordinary user with one folder to write to: healthy, then SIGTERM, and the exit code is 0."""
    port = free_port()
    words = [*said("ENTRYPOINT").listed, *said("CMD").listed]
    assert health(image, port) != 0
    server = inside(image, words, port=port)
    try:
        until(lambda: server.poll() is not None or health(image, port) == 0, "health")
        assert server.poll() is None, server.communicate()[0].decode()
        server.terminate()
        output = server.communicate(timeout=PATIENCE_SECONDS)[0].decode()
    finally:
        server.kill()
        server.wait()
    assert server.returncode == 0, output
    data = image.at("/var/lib/waitroom")
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert {"admin-key", "signing-key"} <= {file.name for file in data.iterdir()}
    assert health(image, port) != 0


@pytest.mark.system
@pytest.mark.timeout(900)
def test_everything_in_the_image_is_pinned(image: Image) -> None:
    """Each package stands in constraints.txt in the version that was installed, and pip is not among them."""
    pins = dict(
        line.split("==") for line in (project.ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    )
    pinned = {_normal(name): version for name, version in pins.items()}
    found = {}
    for metadata in image.at("/opt/waitroom").glob("lib/python*/site-packages/*.dist-info"):
        name, _, version = metadata.name.removesuffix(".dist-info").rpartition("-")
        found[_normal(name)] = version
    assert found.pop("waitroom") == __version__
    assert found
    assert {name: version for name, version in found.items() if pinned.get(name) != version} == {}


@pytest.mark.system
@pytest.mark.timeout(900)
def test_the_same_tree_gives_the_same_wheel(image: Image, tmp_path: Path) -> None:
    """Built again elsewhere from files of another age, the wheel has the same bytes."""
    (first,) = (image.at("/dist")).glob("*.whl")
    tree = tmp_path / "tree"
    shutil.copytree(image.at("/src"), tree)
    for file in tree.rglob("*"):
        os.utime(file, (1_000_000_000, 1_000_000_000))
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(tree)]
    epoch = next(i.rest.partition("=")[2] for i in parsed() if i.rest.startswith("SOURCE_DATE_EPOCH="))
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "SOURCE_DATE_EPOCH": epoch})
    assert _digest(tmp_path / first.name) == _digest(first)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
