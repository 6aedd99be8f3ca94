"""What the README says of settings, addresses, metrics and commands is what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from pydantic.fields import FieldInfo
from typer.main import get_command

from waitroom import __version__, metrics
from waitroom.cli.main import app
from waitroom.rooms.registry import Rooms
from waitroom.serve.assemble import assemble
from waitroom.settings.room import RoomSettings
from waitroom.settings.server import ServerSettings
from waitroom.web.app import routes
from waitroom.web.probes import RoomCollector

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
HOUSE = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")

#: Every document of the project. What lies in hidden folders or was made by a run is none.
DOCUMENTS = sorted(
    path.relative_to(ROOT)
    for top in ROOT.iterdir()
    if not top.name.startswith(".") and top.name not in ("dist", "waitroom-data")
    for path in (top.rglob("*.md") if top.is_dir() else [top])
    if path.suffix == ".md" and "results" not in path.parts
)

#: A comment in a shell block, or a piece in which `#` begins none: something escaped, or quoted.
COMMENT = re.compile(r"(?:^|(?<=\s))(#[^\n]*)|\\.|'[^']*'|\"(?:\\.|[^\"\\])*\"", re.DOTALL)


def table(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading of the README, without its first two lines."""
    section = README.split(f"\n{heading}\n", 1)[1]
    lines = [line for line in re.split(r"\n#+ ", section)[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


def described(name: str, field: FieldInfo) -> list[str]:
    """A setting's row: name, default, meaning."""
    default = field.get_default(call_default_factory=True)
    shown = {True: "true", False: "false"}.get(default, default) if isinstance(default, bool) else default
    text = '""' if shown == "" else f"{shown:g}" if isinstance(shown, float) else str(shown)
    return [f"`{name}`", f"`{text}`", str(field.description)]


@pytest.mark.parametrize(
    ("heading", "model"), [("### Room settings", RoomSettings), ("### Server settings", ServerSettings)]
)
def test_the_settings_tables_are_the_declarations(heading: str, model: type[RoomSettings | ServerSettings]) -> None:
    """Each setting stands in the README with its default and meaning, and no other does."""
    assert table(heading) == [described(name, field) for name, field in model.model_fields.items()]


def test_the_http_table_lists_every_address() -> None:
    """Each route and method stands in the README, and no other does."""
    settings = ServerSettings(
        redis_url="redis://127.0.0.1:1", signing_keys=["k1:0123456789abcdefghijklmnopqrstuvwxyzABCDEF"]
    )
    wanted = set()
    for route in routes(assemble(settings)):
        wanted |= {f"{method} {route.path_format}" for method in (route.methods or {"GET"}) - {"HEAD"}}
    listed = {call.strip("`") for row in table("## HTTP") for call in row[0].split("<br>")}
    assert listed == wanted


def test_the_metrics_table_lists_every_metric() -> None:
    """Each metric of ours stands in the README under the name that Prometheus sees, and no other does."""
    ours = {
        sample.name if family.type != "counter" else f"{family.name}_total"
        for family in REGISTRY.collect()
        for sample in [family]
        if family.name.startswith("waitroom_")
    }
    ours |= {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in RoomCollector(Rooms(None, {})).collect()  # type: ignore[arg-type]  # without rooms none is asked
    }
    assert metrics.LEADER is not None
    assert {row[0].strip("`") for row in table("## Metrics")} == ours


def test_the_command_table_lists_every_command() -> None:
    """Each command stands in the README, and no other does."""
    wanted = set()
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        children = getattr(command, "commands", None)
        wanted |= {f"waitroom {name} {child}" for child in children} if children else {f"waitroom {name}"}
    assert {row[0].strip("`") for row in table("## Command line")} == wanted


def test_the_make_targets_that_the_readme_names_exist() -> None:
    """Every `make …` in the README is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", README, re.MULTILINE))
    assert {"demo", "test", "setup", "lint"} <= named <= targets


def test_links_lead_somewhere() -> None:
    """Every relative link of the README is a file or folder of the project."""
    links = [link for link in re.findall(r"\]\(([^)#]+)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_changelog_starts_with_this_version() -> None:
    """The newest version in the changelog is the package's."""
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == __version__


def test_the_house_has_the_rooms_that_are_drawn() -> None:
    """Each package, and each module of the ground floor, stands in the table of rooms once, and no other does."""
    package = ROOT / "waitroom"
    rooms = {path.stem for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    cells = [line.split("|")[2] for line in HOUSE.split("\n## The rooms\n")[1].splitlines() if line.startswith("|")]
    drawn = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(drawn) == sorted(rooms - {"__init__", "__main__"})


@pytest.mark.parametrize("heading", ["The path of an enter", "The path of a loss"])
def test_a_path_leads_through_five_files(heading: str) -> None:
    """Each step of a path names the file in which it happens, and what else it names is in those files."""
    steps = re.findall(r"^\d\. (.+(?:\n   .+)*)", HOUSE.split(f"\n## {heading}\n")[1].split("\n## ")[0], re.MULTILINE)
    files = [re.findall(r"`((?:waitroom|lua)/[\w/]+\.(?:py|lua))`", step) for step in steps]
    assert [len(named) for named in files] == [1] * 5
    text = "".join((ROOT / named).read_text(encoding="utf-8") for (named,) in files)
    for name in re.findall(r"`(\w+)`", "".join(steps)):
        assert re.search(rf"\b{name}\b", text), name


def test_every_file_that_the_house_names_is_there() -> None:
    """Paths and links of the page lead to files and folders of the project."""
    paths = re.findall(r"`((?:waitroom|lua|deploy|examples|loadtest|benchmarks|tests)/[\w/.]*)`", HOUSE)
    links = [f"docs/explanation/{link}" for link in re.findall(r"\]\(([^)#]+)", HOUSE)]
    assert paths
    assert links
    assert [path for path in [*paths, *links] if not (ROOT / path).exists()] == []


def comments(block: str) -> list[tuple[str, str]]:
    """Each comment of a shell block, with what stands before it on its line."""
    found = [match for match in COMMENT.finditer(block) if match[1]]
    return [(block[block.rfind("\n", 0, match.start()) + 1 : match.start()], match[1]) for match in found]


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_a_shell_block_can_be_pasted_into_zsh(document: Path) -> None:
    """Comments stand on lines of their own, where zsh tries them as a command `#`, which harms nothing.

    So a comment has no character by which a shell would begin anything else, such as a quote or a pipe.
    """
    text = (ROOT / document).read_text(encoding="utf-8")
    for block in re.findall(r"^ *```(?:sh|bash|zsh|shell|console)\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE):
        for before, comment in comments(block):
            assert before.strip() == "", f"{before}{comment}"
            assert not set(comment[1:]) & set("'\"`$;&|<>(){}[]*?!~\\#"), comment


def test_comments_are_told_from_what_looks_like_one() -> None:
    """A hash in quotes, in a word or behind a backslash begins none."""
    assert comments("echo '# a' \"# b\" c#d \\# e\n# f\nmake  # g\n") == [("", "# f"), ("make  ", "# g")]
    assert Path("README.md") in DOCUMENTS
    assert Path("deploy/nginx/README.md") in DOCUMENTS
