"""Every block of the documents that a reader can run is run as it stands; what reads the others takes them."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
import yaml

from rig import nginx, reader
from tests.docs.pages import PAGES, ROOT, Block, all_blocks, blocks
from waitroom.demo.nginx import Site, addresses
from waitroom.settings.server import ServerSettings

#: Pages whose readers have nothing installed yet.
FIRST: Final = ("README.md", "docs/quickstart.md", "docs/index.md")

#: Languages of blocks that no program of ours reads: output, requests, drawings, and parts of other programs' files.
SHOWN: Final = {"text", "http", "diff", "html", "caddyfile", "haproxy", "javascript", "lua", "mermaid", "ini", "promql"}

#: Files below deploy/ that a reader has made before: by deploy/compose/init.sh.
MADE: Final = {"deploy/.env", "deploy/compose/secrets/redis-password", "deploy/compose/secrets/users.acl"}

#: How a part of nginx's configuration gets into the example of a whole site: in its place, at its end, in its first
#: server, in a location there, in an upstream, or in the place of the instances' upstream.
PLACES: Final[tuple[Callable[[str, str], str], ...]] = (
    lambda part, site: part,
    lambda part, site: f"{site}\n{part}",
    lambda part, site: nginx.added(part)(site),
    lambda part, site: nginx.added(f"location /a-part/ {{\n{part}\n}}")(site),
    lambda part, site: f"{site}\nupstream a_part {{\n{part}\n}}",
    lambda part, site: re.sub(r"upstream waitroom \{.*?\n\}", lambda _: part, site, count=1, flags=re.DOTALL),
)


def _steps(page: str) -> list[tuple[Block, reader.Step]]:
    """What a reader does, in the page's order: saves each file under its name, and pastes what is for the shell."""
    steps = []
    for number, block in enumerate(blocks(page)):
        if block.title:
            place = f'mkdir -p "$(dirname {block.title})"\ncp /hand/file{number} {block.title}\n'
            steps.append((block, reader.Step(place)))
        elif block.runs:
            steps.append((block, reader.Step(block.text, block.until)))
    return steps


@pytest.mark.system
@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize("page", [page for page in PAGES if any(block.runs for block in blocks(page))])
def test_a_reader_who_does_what_a_page_says_sees_what_it_shows(page: str, tmp_path: Path) -> None:
    """On a machine of the reader's own, in the checkout, with the package installed where the page begins with that."""
    for number, block in enumerate(blocks(page)):
        if block.title:
            (tmp_path / f"file{number}").write_text(block.text, encoding="utf-8")
    steps = _steps(page)
    programs = () if page in FIRST else (Path(sys.executable).parent,)
    said = reader.read([step for _, step in steps], tmp_path, programs=programs)
    for (block, _), output in zip(steps, said, strict=True):
        assert not (missed := _missed(block.shown, output)), f"{block} does not show {missed!r} but:\n{output}"


def _missed(shown: str, output: str) -> str:
    """The first line of what is shown that does not come in the output, in order; `…` stands for anything in a line."""
    lines = iter(output.splitlines())
    for wanted in filter(None, map(str.strip, shown.splitlines())):
        pattern = ".*".join(map(re.escape, wanted.split("…")))
        if not any(re.fullmatch(pattern, line.strip()) for line in lines):
            return wanted
    return ""


@pytest.mark.parametrize("block", [block for block in all_blocks() if block.is_shell], ids=str)
def test_a_shell_takes_each_block(block: Block) -> None:
    """Bash parses it, the files of the project that it names are there, and a comment stands on a line of its own."""
    done = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    named = re.findall(r"(?<![\w/.-])(?:deploy|examples|docs)/[\w./-]*\w(?![\w*-])", block.text)
    assert [path for path in named if path not in MADE and not (ROOT / path).exists()] == []
    assert [line for line in block.text.splitlines() if re.search(r"\S.*\s#\s", line) and "'" not in line] == []


def _json(text: str) -> None:
    rest = text.strip()
    while rest:
        _, end = json.JSONDecoder().raw_decode(rest)
        rest = rest[end:].lstrip()


def _toml(text: str) -> None:
    keys = tomllib.loads(text).keys()
    assert keys <= ServerSettings.model_fields.keys()


def _nginx(text: str) -> None:
    """It has a place in the example's files, in which nginx takes it."""
    with tempfile.TemporaryDirectory() as folder:
        site = Site(port=8080, room="shop", instances=(8001, 8002), origin=9000)
        main, filled_in = nginx.write(Path(folder), site), Path(folder, "site.conf")
        example = filled_in.read_text(encoding="utf-8")
        part = text.replace("/var/cache/nginx-waitroom", "cache")
        for shipped, here in addresses(site).items():
            part = part.replace(shipped, here)
        said = []
        for place in PLACES:
            filled_in.write_text(place(part, example), encoding="utf-8")
            said.append(_faults(main))
    assert "" in said, said


def _faults(main: Path) -> str:
    done = subprocess.run([*nginx.command(main), "-t"], capture_output=True, text=True, check=False)
    return done.stderr if done.returncode else ""


READ: Final[dict[str, Callable[[str], object]]] = {
    "json": _json,
    "toml": _toml,
    "python": ast.parse,
    "yaml": lambda text: list(yaml.safe_load_all(text)),
    "nginx": _nginx,
}


@pytest.mark.parametrize("block", [each for each in all_blocks() if not each.is_shell and not each.title], ids=str)
def test_a_block_that_is_a_part_of_something_is_well_formed(block: Block) -> None:
    """What reads its language takes it; a language that is not read here is one of those that are only shown."""
    if block.language not in SHOWN:
        READ[block.language](block.text)
