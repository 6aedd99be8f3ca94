"""`make pictures`: the pictures in docs/pictures/, taken of a running demo, so that they show what there is.

A browser waits in the demo's queue and is let in. A terminal shows what an operator reads meanwhile. Where the demo's
crowd saw errors, as it does on a machine that is too busy, there are no pictures of them.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, NamedTuple

from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize
from playwright.sync_api import Error as PlaywrightError
from rich.console import Console
from rich.terminal_theme import SVG_EXPORT_THEME
from rich.text import Text

from rig.browser import chromium
from rig.machine import Missing, missing, program
from rig.process import Ended, Process, environment
from waitroom.demo.processes import DemoError, free_port, require_port

ROOT: Final = Path(__file__).parent.parent
FOLDER: Final = ROOT / "docs" / "pictures"

ROOM: Final = "shop"

#: The port that the demo has by itself, so that the pictures show it where it is free.
PORT: Final = 8080

#: The crowd and what the shop takes: few enough for a machine that has other things to do.
VISITORS: Final = 150
CAPACITY: Final = 40

#: So many wait when the first picture is taken.
QUEUE: Final = 60

#: Seconds until so many wait, and until a visitor behind them all has had their turn.
FILLED_SECONDS: Final = 120
TURN_SECONDS: Final = 300

#: Columns of the terminal, and how it looks.
COLUMNS: Final = 84
_TERMINAL: Final = """\
<!doctype html>
<meta charset="utf-8">
<style>
  body {{ margin: 0; width: fit-content; background: {background}; color: {foreground} }}
  pre {{ margin: 0; padding: 20px 24px; font: 15px/17px "DejaVu Sans Mono", monospace }}
</style>
<pre>{code}</pre>
"""

#: A character in colour, for which a picture of the shop needs a font.
_EMOJI: Final = "💡"

#: The pictures have few colours. Fewer bits for each make a file a third as large.
_COLOURS: Final = 128


class Unfit(Exception):
    """The demo does not run as it should be shown."""


class View(NamedTuple):
    """How the waiting page is looked at."""

    width: int
    height: int
    scale: float
    scheme: Literal["light", "dark"]


WAITING: Final[Mapping[str, View]] = {
    "waiting-light.png": View(1280, 800, 1, "light"),
    "waiting-dark.png": View(1280, 800, 1, "dark"),
    "waiting-phone-light.png": View(390, 844, 2, "light"),
    "waiting-phone-dark.png": View(390, 844, 2, "dark"),
}
SHOP: Final = "shop.png"
SHOP_VIEW: Final = View(1280, 640, 1, "light")
DEMO: Final = "demo.png"
OPERATOR: Final = "operator.png"
TERMINAL_VIEW: Final = View(900, 700, 1.5, "dark")

#: All that the command makes.
PICTURES: Final = (*WAITING, SHOP, DEMO, OPERATOR)


class Demo(Process):
    """A demo whose queue and logs are in `folder`, and which believes that it is shown on a terminal."""

    def __init__(self, folder: Path, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.store = folder / "data" / "store"
        command = [sys.executable, "-m", "waitroom", "demo", "--port", str(port), "--data-dir", str(folder / "data")]
        size = ["--visitors", str(VISITORS), "--capacity", str(CAPACITY)]
        super().__init__("demo", [*command, *size], folder=folder, variables=_terminal())

    def ready(self) -> bool:
        """Whether there is a queue worth a picture, and an estimate for its tail."""
        address = f"{self.url}/v1/rooms/{ROOM}"
        with urllib.request.urlopen(address, timeout=5) as answer:  # noqa: S310 - the demo's own address # nosec B310
            room = json.load(answer)
        return room["waiting"] >= QUEUE and room["eta_seconds"] is not None

    def await_ready(self) -> None:
        """Wait until it is."""
        self.until(self.ready, seconds=FILLED_SECONDS)

    def shown(self) -> str:
        """What stands on its terminal: all before the table, and the table as it was drawn last. Raises Unfit."""
        said = self.said()
        table: str = re.findall(r"┌[^┘]*┘", said)[-1]
        if not re.search(r"crowd errors +│ 0 ", table):
            raise Unfit(f"the demo's crowd saw errors; does this machine have much else to do?\n{table}")
        return said[: said.index("\x1b")] + table

    def asked(self, words: list[str]) -> str:
        """A command of an operator and what it says, as a terminal shows them."""
        command = [sys.executable, "-m", "waitroom", *words]
        variables = _terminal(WAITROOM_DATA_DIR=str(self.store))
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)  # noqa: S603  # nosec B603
        return f"$ waitroom {' '.join(words)}\n{done.stdout}"


def main() -> int:
    """Take the pictures; the exit code."""
    FOLDER.mkdir(exist_ok=True)
    try:
        _require_emoji()
        with tempfile.TemporaryDirectory() as folder, chromium() as browser, Demo(Path(folder), _port()) as demo:
            take(browser, demo)
    except (Ended, Missing, Unfit, PlaywrightError) as error:
        sys.stderr.write(f"no pictures: {error}\n")
        return 1
    for name in PICTURES:
        sys.stdout.write(f"docs/pictures/{name}: {(FOLDER / name).stat().st_size:,} bytes\n")
    return 0


def take(browser: Browser, demo: Demo) -> None:
    """Take them all. Raises Unfit, and playwright's TimeoutError where the visitor's turn does not come."""
    for name, view in WAITING.items():
        with _page(browser, view) as page:
            page.goto(demo.url)
            page.locator("#rank").wait_for()
            _keep(name, page.screenshot(animations="disabled"))
    with _page(browser, SHOP_VIEW) as page, _page(browser, TERMINAL_VIEW) as terminal:
        page.goto(demo.url)
        _draw(terminal, DEMO, f"$ waitroom demo\n{demo.shown()}")
        _draw(terminal, OPERATOR, "\n".join(demo.asked(words) for words in (["room", "list"], ["room", "show", ROOM])))
        page.wait_for_url(f"{demo.url}/", timeout=TURN_SECONDS * 1000)
        _keep(SHOP, page.screenshot())


@contextmanager
def _page(browser: Browser, view: View) -> Iterator[Page]:
    """A page of a new visitor."""
    size = ViewportSize(width=view.width, height=view.height)
    context = browser.new_context(viewport=size, device_scale_factor=view.scale, color_scheme=view.scheme)
    try:
        yield context.new_page()
    finally:
        context.close()


def _draw(page: Page, name: str, text: str) -> None:
    """Draw what a terminal shows."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(Text.from_ansi(text.rstrip()))
    page.set_content(console.export_html(theme=SVG_EXPORT_THEME, code_format=_TERMINAL, inline_styles=True))
    _keep(name, page.locator("body").screenshot())


def _keep(name: str, picture: bytes) -> None:
    """Write a picture with few colours."""
    with Image.open(io.BytesIO(picture)) as image:
        image.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE).save(FOLDER / name, optimize=True)


def _terminal(**more: str) -> dict[str, str]:
    """The environment of a program that is shown on a terminal."""
    return environment(FORCE_COLOR="1", TERM="xterm-256color", COLUMNS=str(COLUMNS), **more)


def _port() -> int:
    try:
        require_port(PORT)
    except DemoError:
        return free_port()
    return PORT


def _require_emoji() -> None:
    command = [program("fc-list", package="fontconfig"), f":charset={ord(_EMOJI):x}"]
    if not subprocess.run(command, capture_output=True, check=True).stdout:  # noqa: S603  # nosec B603
        missing("a font for the shop's goods (Debian: fonts-noto-color-emoji)")


if __name__ == "__main__":
    sys.exit(main())
