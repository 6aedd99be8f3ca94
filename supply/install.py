"""`python -m supply.install EXTRA`: waitroom from this folder with that extra, and on the way a word for each package.

It installs into the environment of the Python that runs it, and needs nothing but the standard library.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent

#: What each extra is for, and roughly how much it is once it is installed.
WHAT: Final = {
    "demo": "the demo needs: about 35 packages, 110 MB",
    "examples": "the job service needs: about 45 packages",
    "tools": "clusters, load tests, chaos and benchmarks need: about 70 packages",
    "dev": "tests and tools need: about 170 packages, 950 MB",
}

#: Characters in a line of names.
_WIDTH: Final = 100

#: A package that pip has found: on an index by its name, or as a wheel in a folder.
_PACKAGE: Final = re.compile(r"Collecting ([A-Za-z0-9._-]+)|Processing (?:\S*/)?([A-Za-z0-9._]+)-\S*\.whl")


def main() -> int:
    """Install, and return pip's exit code."""
    extra = sys.argv[1] if len(sys.argv) == 2 else ""
    if extra not in WHAT:
        sys.stderr.write(f"usage: python -m supply.install {' | '.join(WHAT)}\n")
        return 2
    say(f"Installing what {WHAT[extra]}.\n")
    command = [
        *(sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off"),
        *("-c", "constraints.txt", "-e", f".[{extra}]"),
    ]
    # Constant commands.
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as pip:  # noqa: S603 # nosec B603
        for text in told(pip.stdout or ()):
            say(text)
    return pip.returncode


def told(lines: Iterable[str]) -> Iterator[str]:
    """What to say of pip's own lines, piece by piece: names as they come, in lines of some width, and each step."""
    seen, width = set[str](), 0
    for line in lines:
        if line.lstrip().startswith("Installing build dependencies: started"):
            yield "Getting what builds waitroom itself ...\n"
        elif line.startswith("Installing collected packages"):
            yield f"\nUnpacking {len(seen)} packages ...\n" if seen else "Nothing else was missing.\n"
        elif (found := _PACKAGE.match(line)) and (name := found[1] or found[2]) not in seen:
            seen.add(name)
            if width + len(name) >= _WIDTH:
                yield "\n"
                width = 0
            yield f" {name}"
            width += len(name) + 1


def say(text: str) -> None:
    """Write at once, whatever stdout is."""
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
