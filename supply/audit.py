"""`make audit`: what bandit finds in our own code, and what is known of the packages that we use.

Exit codes: 0 all was looked at and nothing was found; 1 something was found, or could not be looked at.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent

#: What runs where an operator installs or builds it.
OWN = ("waitroom", "supply", "hatch_build.py")

#: Names that are shown of a longer list.
_SHOWN = 5


def main() -> int:
    """Do both, and say what came of it."""
    faults = []
    for what, look in (("our own code (bandit)", own_faults), ("all packages (pip-audit)", known_faults)):
        found = look()
        if not found:
            sys.stdout.write(f"audit: {what}: looked at, nothing was found\n")
        for fault in found:
            sys.stderr.write(f"audit: {fault}\n")
        faults += found
    return 1 if faults else 0


def own_faults() -> list[str]:
    """What bandit finds in our own code that no comment explains."""
    command = ["-m", "bandit", "--quiet", "--recursive", "--configfile", "pyproject.toml", *OWN]
    done = _run(*command)
    return [] if done.returncode == 0 else [f"bandit:\n{done.stdout}{done.stderr}"]


def known_faults() -> list[str]:
    """What the advisory database says of the versions in constraints.txt, and of which it said nothing.

    pip-audit passes over what it finds no page for and says that nothing is known: here that is a fault.
    """
    done = _run(
        *("-m", "pip_audit", "--requirement", "constraints.txt", "--no-deps", "--disable-pip"),
        *("--format", "json", "--progress-spinner", "off"),
    )
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        return [f"pip-audit could not ask the advisory database:\n{done.stderr[-2000:].strip()}"]
    return judged(found)


def judged(found: list[dict[str, Any]]) -> list[str]:
    """The faults in pip-audit's findings."""
    faults = [
        f"{one['name']} {one['version']}: {hole['id']}, mended in {', '.join(hole['fix_versions']) or 'no version yet'}"
        for one in found
        for hole in one.get("vulns", [])
    ]
    skipped = [one["name"] for one in found if "skip_reason" in one]
    if skipped or not found:
        more = ", ..." if len(skipped) > _SHOWN else ""
        faults.append(
            f"pip-audit could not look at {len(skipped)} of {len(found)} packages "
            f"({', '.join(skipped[:_SHOWN])}{more}), for the advisory database did not answer: nothing is known of them"
        )
    return faults


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    # Constant commands.
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 # nosec B603


if __name__ == "__main__":
    sys.exit(main())
