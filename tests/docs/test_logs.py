"""docs/reference/logs.md has each line that an instance, a gate in an application or a client may log."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final

from tests.docs.pages import ROOT

PAGE: Final = (ROOT / "docs" / "reference" / "logs.md").read_text(encoding="utf-8")

#: What the page shows for lines whose words come from elsewhere, by module.
SHOWN: Final = {
    "waitroom/checks/signers.py": "signing_keys: other instances on this Redis sign with another secret under the id …",
    "waitroom/web/answers.py": "room …: …",
}

#: Where lines are made of a text that a method of the module is given, instead of one beside the logger.
TOLD: Final = {"waitroom/web/arrivals.py": ("_warn", "room …: ")}

LEVELS: Final = {"warning": "WARNING", "error": "ERROR", "exception": "ERROR", "info": "INFO"}

#: What stands in a format for a value.
_VALUE: Final = re.compile(r"%[-+ 0-9.]*[a-z]")


def text_of(node: ast.expr) -> str:
    """A text of the code with `…` for each value in it."""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    assert isinstance(node, ast.Constant), ast.dump(node)
    return _VALUE.sub("…", str(node.value))


def lines() -> Iterator[tuple[str, str]]:
    """Each line that the package logs, and its level; those for developers (debug) are left out."""
    for path in sorted((ROOT / "waitroom").rglob("*.py")):
        module = str(path.relative_to(ROOT))
        told, before = TOLD.get(module, ("", ""))
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
                continue
            name, owner = call.func.attr, getattr(call.func.value, "id", "")
            if told and name == told:
                yield before + text_of(call.args[1]), "WARNING"
            elif owner == "logger" and name in LEVELS:
                text = text_of(call.args[0])
                if not told or text != f"{before}…":
                    yield SHOWN[module] if text == "…" else text, LEVELS[name]


def rows() -> Iterator[tuple[str, str]]:
    """Each line that the page explains, and its level; the table of those at INFO has no column for it."""
    for line in PAGE.splitlines():
        if line.startswith("| `"):
            message, *cells = [cell.strip() for cell in line.strip("|").split("|")]
            yield message.strip("`"), cells[0] if len(cells) > 1 else "INFO"


def test_the_page_has_every_line() -> None:
    """Each line of the code is explained there with its level, and no other is."""
    wanted, listed = sorted(set(lines())), sorted(rows())
    assert listed == wanted, f"to be added: {set(wanted) - set(listed)}; to be removed: {set(listed) - set(wanted)}"


def test_words_from_elsewhere_are_so() -> None:
    """What the page shows for them begins as in the code."""
    signers = (ROOT / "waitroom/checks/signers.py").read_text(encoding="utf-8")
    assert SHOWN["waitroom/checks/signers.py"].removesuffix("…") in signers
