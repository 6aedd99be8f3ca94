"""The wheel: what is in it, and that it serves where nothing else of the project is."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.servers import missing
from tests.system.http import browsing
from tests.system.processes import serving
from waitroom import scripts

ROOT = Path(__file__).parent.parent

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from the tree."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_the_wheel_carries_scripts_pages_and_nginx_files(wheel: Path) -> None:
    """Lua, the waiting page and the nginx configuration ship inside the package."""
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {f"waitroom/lua/{name}.lua" for name in scripts.NAMES}
    wanted |= {f"waitroom/web/{path.parent.name}/{path.name}" for path in (ROOT / "waitroom/web/assets").iterdir()}
    wanted |= {f"waitroom/web/{path.parent.name}/{path.name}" for path in (ROOT / "waitroom/web/templates").iterdir()}
    nginx = ROOT / "deploy/nginx"
    wanted |= {f"waitroom/nginx/{path.relative_to(nginx)}" for path in nginx.rglob("*") if path.is_file()}
    wanted.add("waitroom/py.typed")
    assert wanted - names == set()
    assert not [name for name in names if not name.startswith("waitroom")]


@pytest.fixture(scope="module")
def home(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with nothing but the wheel and its dependencies."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    venv.create(folder, with_pip=True)
    install = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*install, "-c", str(ROOT / "constraints.txt"), str(wheel)], capture_output=True, text=True)
    if done.returncode != 0:
        missing(f"a package index to install the wheel's dependencies from ({done.stderr[-300:]})")
    return folder


async def test_the_wheel_serves_in_a_fresh_environment(home: Path, tmp_path: Path) -> None:
    """Installed elsewhere, `waitroom serve` runs with its embedded server and the Lua it carries."""
    command = str(home / "bin/waitroom")
    with serving(tmp_path / "elsewhere", rooms={"shop": {"capacity": 1}}, command=command) as served:
        async with browsing(2, served.port) as (first, second):
            assert (await first.ask("POST", "/v1/rooms/shop/enter"))[0] == 200
            status, document = await second.ask("POST", "/v1/rooms/shop/enter")
            assert (status, document["rank"]) == (202, 1)


def test_the_installed_scripts_are_the_wheels_own(home: Path, tmp_path: Path) -> None:
    """The Lua that runs lies in the environment, not in this checkout."""
    program = [str(home / "bin/python"), "-c", "import waitroom.scripts as s; print(s.folder())"]
    found = subprocess.run(program, check=True, capture_output=True, text=True, cwd=tmp_path)
    assert str(home) in found.stdout
