"""The pictures in docs/pictures/ are those that `make pictures` takes, small, and each is shown by a document."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest
from PIL import Image

from supply.pictures import FOLDER, PICTURES, SHOP, SHOP_VIEW, WAITING

ROOT: Final = Path(__file__).parent.parent
DOCUMENTS: Final = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))

MOST_BYTES: Final = 60_000


def test_the_folder_has_what_the_command_takes() -> None:
    """No picture is missing, and none has outlived its command."""
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(PICTURES)


def test_the_documents_show_each_picture_and_no_other() -> None:
    """A picture in a document is one that can be taken again."""
    shown = set()
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for address in re.findall(r"""[\w./-]+\.(?:png|svg|jpe?g|gif|webp)""", text):
            if "://" not in address and "/" in address:
                shown.add((document.parent / address).resolve())
    assert shown == {FOLDER / name for name in PICTURES}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_small(name: str) -> None:
    """A page with all of them is there at once."""
    assert (FOLDER / name).stat().st_size <= MOST_BYTES


@pytest.mark.parametrize("name", [*WAITING, SHOP])
def test_a_picture_of_a_page_has_the_size_of_its_view(name: str) -> None:
    """It was taken as the command takes it."""
    view = WAITING.get(name, SHOP_VIEW)
    with Image.open(FOLDER / name) as picture:
        assert picture.size == (view.width * view.scale, view.height * view.scale)
