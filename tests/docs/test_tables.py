"""What the reference says of settings, addresses, metrics, commands and words is what there is.

`python -m tests.docs.test_tables` writes the tables of the settings anew.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, get_args

import pytest
from prometheus_client import REGISTRY
from typer.main import get_command

from tests.docs.pages import PAGES, ROOT, all_blocks
from waitroom import __version__, metrics
from waitroom.cli.main import app
from waitroom.model import RoomState
from waitroom.rooms.registry import Rooms
from waitroom.serve.assemble import assemble
from waitroom.settings.room import RoomSettings
from waitroom.settings.server import ServerSettings
from waitroom.store import scripts
from waitroom.web import openapi
from waitroom.web.app import routes
from waitroom.web.probes import RoomCollector

REFERENCE: Final = ROOT / "docs" / "reference"
HOUSE: Final = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")

#: The tables of settings, by their heading.
SETTINGS: Final[dict[str, type[RoomSettings | ServerSettings]]] = {
    "Room settings": RoomSettings,
    "Server settings": ServerSettings,
}

#: Problem types that are made of an HTTP status, where they are not written down anywhere.
OF_A_STATUS: Final = {"method-not-allowed"}

#: Calls that make a problem document.
PROBLEMS: Final = {"Problem", "Demand", "_problem", "_again"}


#: What the glossary has at least, beside the states of a room.
WORDS: Final = frozenset(
    {
        *("room", "visitor", "wait queue", "active set", "serial", "order", "rank", "eta", "ticket", "pass"),
        *("admit", "offer", "claim", "session", "left", "finished", "no-show", "abandoned", "refused"),
        *("capacity", "occupancy", "rate", "gate", "origin", "operator", "instance"),
        *("scheduler", "tick", "leader", "lease", "term"),
    }
)


def page(name: str) -> str:
    """The text of a page of the reference."""
    return (REFERENCE / f"{name}.md").read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """What stands below a heading, up to the next one."""
    return re.split(r"\n#+ ", text.split(f"# {heading}\n", 1)[1])[0]


def table(name: str, heading: str) -> list[list[str]]:
    """The cells of the table below a heading of a page, without its first two lines."""
    lines = [line for line in section(page(name), heading).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


def words(cell: str) -> list[str]:
    """What a cell names, a line each, without marks."""
    return [line.strip("`") for line in cell.split("<br>")]


def values(declared: dict[str, Any]) -> str:
    """The values that a setting takes, from its JSON schema."""
    if "enum" in declared:
        return ", ".join(f"`{word}`" for word in declared["enum"])
    if "minimum" in declared:
        return f"{declared['minimum']:,} to {declared['maximum']:,}"
    characters = f", {declared['maxLength']} characters at most" if "maxLength" in declared else ""
    items = f", {declared['maxItems']} at most" if "maxItems" in declared else ""
    kinds = {"boolean": "`true`, `false`", "string": f"text{characters}", "array": f"list{items}", "object": "table"}
    return kinds[declared["type"]]


def settings_table(model: type[RoomSettings | ServerSettings]) -> str:
    """The table of a model's settings as the page must have it."""
    lines = ["| setting | default | values | meaning |", "|---|---|---|---|"]
    schema = model.model_json_schema()["properties"]
    for name, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True)
        shown = str(default).lower() if isinstance(default, bool) else default
        text = '""' if shown == "" else f"{shown:g}" if isinstance(shown, float) else str(shown)
        lines.append(f"| `{name}` | `{text}` | {values(schema[name])} | {field.description} |")
    return "\n".join(lines)


def written(text: str) -> str:
    """The page of the settings with the tables that it must have."""
    for heading, model in SETTINGS.items():
        before, after = text.split(f"\n## {heading}\n", 1)
        _, more, rest = after.partition("\n## ")
        text = f"{before}\n## {heading}\n\n{settings_table(model)}\n{more}{rest}"
    return text


def test_the_settings_tables_are_the_declarations() -> None:
    """Each setting stands there with its default, values and meaning, and no other does."""
    text = page("settings")
    assert text == written(text), "python -m tests.docs.test_tables writes what is wanted"
    assert [words(row[0])[0] for row in table("settings", "Room settings")] == list(RoomSettings.model_fields)


def test_the_http_table_lists_every_address() -> None:
    """Each route and method stands there, and no other does."""
    settings = ServerSettings(
        redis_url="redis://127.0.0.1:1", signing_keys=["k1:0123456789abcdefghijklmnopqrstuvwxyzABCDEF"]
    )
    wanted = set()
    for route in routes(assemble(settings)):
        wanted |= {f"{method} {route.path_format}" for method in (route.methods or {"GET"}) - {"HEAD"}}
    listed = [call for row in table("http", "Addresses") for call in words(row[0])]
    assert sorted(listed) == sorted(wanted)


@pytest.mark.parametrize(
    ("heading", "schema"),
    [
        ("The waiting document", "Waiting"),
        ("The document of an admitted visitor", "Admitted"),
        ("The room document", "Public"),
    ],
)
def test_the_documents_tables_list_every_field(heading: str, schema: str) -> None:
    """Each field that the OpenAPI document has stands there, in its order, and no other does."""
    declared = openapi.document()["components"]["schemas"][schema]["properties"]
    assert [words(row[0])[0] for row in table("http", heading)] == list(declared)


def problems() -> Iterator[tuple[str, int]]:
    """The type and status of each problem document that the code makes with both written down."""
    for path in (ROOT / "waitroom").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call) or getattr(call.func, "id", "") not in PROBLEMS:
                continue
            given = [each for one in call.args for each in getattr(getattr(one, "value", None), "elts", [one])]
            constants = [one.value for one in given[:2] if isinstance(one, ast.Constant)]
            status = next((value for value in constants if isinstance(value, int)), 503)
            yield from ((value, status) for value in constants[:2] if isinstance(value, str) and " " not in value)


def test_the_problem_table_lists_every_type() -> None:
    """Each type of a problem document stands there with the statuses that it comes with, and no other does."""
    wanted: dict[str, set[str]] = {}
    for slug, status in problems():
        wanted.setdefault(slug, set()).add(str(status))
    listed = {words(row[0])[0]: set(row[1].split(", ")) for row in table("http", "Problems")}
    assert {slug: statuses for slug, statuses in listed.items() if slug not in OF_A_STATUS} == wanted
    assert list(listed) == sorted(listed)


def test_the_metrics_table_lists_every_metric() -> None:
    """Each metric of ours stands there under the name that Prometheus sees, and no other does."""
    ours = {
        family.name if family.type != "counter" else f"{family.name}_total"
        for family in (*REGISTRY.collect(), *RoomCollector(Rooms(None, {})).collect())  # type: ignore[arg-type]
        if family.name.startswith("waitroom_")
    }
    assert metrics.LEADER is not None
    listed = [words(row[0])[0] for row in table("metrics", "Metrics")]
    assert sorted(listed) == sorted(ours)


def commands() -> dict[str, set[str]]:
    """Every command with its long options, and `waitroom` itself."""
    main = get_command(app)
    found = {"waitroom": main}
    for name, command in main.commands.items():  # type: ignore[attr-defined]
        children = getattr(command, "commands", None)
        found |= (
            {f"waitroom {name} {child}": each for child, each in children.items()}
            if children
            else {f"waitroom {name}": command}
        )
    return {
        name: {option for one in command.params for option in one.opts if option.startswith("--")} - {"--help"}
        for name, command in found.items()
    }


def test_the_command_table_lists_every_command() -> None:
    """Each command stands there, and no other does."""
    listed = [words(row[0])[0] for row in table("commands", "Table of commands")]
    assert sorted(listed) == sorted(commands().keys() - {"waitroom"})


def test_the_option_table_lists_every_option() -> None:
    """Each option stands there with the commands that take it, and no other does."""
    listed: dict[str, set[str]] = {name: set() for name in commands()}
    for names, option, _ in table("commands", "Options"):
        for name in words(names):
            listed.setdefault(name, set()).add(option.strip("`"))
    assert listed == commands()


def test_the_scripts_table_lists_every_script() -> None:
    """Each script of lua/ stands there, in the order that Python knows."""
    assert [words(row[0])[0] for row in table("scripts", "Scripts")] == list(scripts.NAMES)


def test_the_glossary_has_every_word_once() -> None:
    """In the order of the alphabet, so that a reader finds it."""
    listed = [row[0] for row in table("glossary", "Glossary")]
    assert listed == sorted(set(listed))
    assert set(listed) >= WORDS | set(get_args(RoomState))


def test_the_make_targets_that_the_documents_name_exist() -> None:
    """Every `make …` in the README and the pages is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shell = "\n".join(block.text for block in all_blocks() if block.is_shell)
    spans = "\n".join((ROOT / path).read_text(encoding="utf-8") for path in PAGES)
    named = {*re.findall(r"^make ([a-z-]+)", shell, re.MULTILINE), *re.findall(r"`make ([a-z-]+)", spans)}
    assert {"demo", "test"} <= named <= targets


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


if __name__ == "__main__":
    target: Final[Path] = REFERENCE / "settings.md"
    target.write_text(written(target.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"written: {target.relative_to(ROOT)}")
