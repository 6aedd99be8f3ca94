"""What the texts say of the client."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.client.scene import (
    SLIDING,
    count,
)
from tests.web.sites import Site
from waitroom import client as package
from waitroom.client import (
    BlockingClient,
    ClientError,
    Slot,
    WaitroomClient,
    errors,
)

#: The project's folder.
ROOT = Path(__file__).parent.parent.parent


def examples() -> list[str]:
    """The programs in the clients' docstrings."""
    documents = [WaitroomClient.__doc__ or "", BlockingClient.__doc__ or ""]
    blocks = [re.findall(r"```python\n(.*?)```", text, re.DOTALL) for text in documents]
    return [textwrap.dedent(block) for found in blocks for block in found if "waitroom.client" in block]


@pytest.mark.parametrize("number", range(len(examples())))
def test_the_examples_run(site: Site, number: int) -> None:
    """Each is a whole program; only the server's address and the room's name are put in."""
    room = site.make_room(**SLIDING)
    code = examples()[number].replace("http://127.0.0.1:8000", site.url).replace('"reports"', repr(room))
    assert room in code
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert count(site, room, "left") == 1


def test_the_texts_have_examples() -> None:
    """Each client has one to run."""
    assert len(examples()) == 2


def test_every_error_stands_in_the_tree() -> None:
    """The package's docstring lists its errors, each below its base, and the package exports them."""
    names = [name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, ClientError)]
    branches = re.findall(r"^([│ ]*)[├└]── (\w+)", package.__doc__ or "", re.MULTILINE)
    assert sorted(name for _, name in branches) == sorted([*names, "RoomUnknown"])
    path = ["WaitroomError"]
    for indent, name in branches:
        path[len(indent) // 4 + 1 :] = [name]
        assert getattr(package, name).__base__.__name__ == path[-2]
    assert {name for _, name in branches} | {"WaitroomError"} <= set(package.__all__)


def test_every_error_stands_on_the_page() -> None:
    """The how-to says of each error what it means and what to do."""
    page = (ROOT / "docs" / "how-to" / "python-client.md").read_text(encoding="utf-8")
    part = page.partition("\n## What each error means\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)`.*? \| \S.* \| \S.* \|$", part, re.MULTILINE)
    names = [name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, ClientError)]
    assert sorted(rows) == sorted({*names, "RoomUnknown"} - {"ClientError"})


def test_every_call_stands_on_the_page() -> None:
    """Both clients have the same calls, and the how-to has each of them."""
    page = (ROOT / "docs" / "how-to" / "python-client.md").read_text(encoding="utf-8")
    part = page.partition("\n## The calls\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)\(", part, re.MULTILINE)
    for kind, closing in ((WaitroomClient, "aclose"), (BlockingClient, "close")):
        calls = [name for name in vars(kind) if not name.startswith("_") and name != closing]
        assert sorted(rows) == sorted(calls)


def test_no_tuning_constant_is_exported() -> None:
    """They stay in their modules, and the texts say the numbers."""
    assert [name for name in package.__all__ if name.isupper()] == []
    methods = [*vars(WaitroomClient).values(), *vars(BlockingClient).values(), WaitroomClient, BlockingClient, Slot]
    assert not re.search(r"\b[A-Z]+_[A-Z_]+\b", " ".join(method.__doc__ or "" for method in methods))
