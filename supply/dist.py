"""`make dist`: the wheel, and beside it the bill of everything that a server's installation of it brings along, here.

The wheel carries a bill of its own, of what its extras require themselves (see hatch_build.py). This one names what
those require in turn, with the versions and licences that are installed in this environment.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from hatch_build import FILE_NAME, as_text, bill, canonical, component

ROOT = Path(__file__).parent.parent


def main() -> None:
    """Build the wheel into dist/ and write the bill beside it."""
    folder = ROOT / "dist"
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True)  # noqa: S603 - a constant command # nosec B603
    path = folder / FILE_NAME
    path.write_text(as_text(installed_bill("waitroom", "server")), encoding="utf-8")
    sys.stdout.write(f"bill of materials: {path.relative_to(ROOT)}\n")


def installed_bill(name: str, extra: str) -> dict[str, Any]:
    """The bill of an installed package and one extra of it, with all that these need here; no other extra is in it."""
    found = closure(name, extra)
    own = found.pop(canonical(name))
    references = {key: component(one.name, one.version)["bom-ref"] for key, (one, _) in found.items()}
    whole = component(own[0].name, own[0].version)["bom-ref"]
    dependencies = [
        {"ref": ref, "dependsOn": sorted(references[key] for key in needed)}
        for ref, needed in [(whole, own[1]), *((references[key], needed) for key, (_, needed) in found.items())]
    ]
    components = [component(one.name, one.version, **_licence(one)) for one, _ in found.values()]
    return bill(name, own[0].version, "MIT", components, sorted(dependencies, key=lambda one: str(one["ref"])))


def closure(name: str, extra: str) -> dict[str, tuple[Distribution, set[str]]]:
    """An installed package with an extra and all that it needs, each with the names of what it needs itself.

    By canonical name.
    """
    found: dict[str, tuple[Distribution, set[str]]] = {}
    done: set[tuple[str, str]] = set()
    waiting = [(canonical(name), extra)]
    while waiting:
        key, asked = waiting.pop()
        if (key, asked) in done:
            continue
        done.add((key, asked))
        one, needed = found.setdefault(key, (distribution(key), set()))
        for requirement in map(Requirement, one.requires or ()):
            if requirement.marker is None or requirement.marker.evaluate({"extra": asked}):
                needed.add(canonical(requirement.name))
                waiting += [(canonical(requirement.name), wanted) for wanted in ("", *requirement.extras)]
    return found


def _licence(one: Distribution) -> dict[str, Any]:
    """What a package says of its licence, if it says it in the words of SPDX."""
    if "License-Expression" not in one.metadata:
        return {}
    return {"licenses": [{"expression": one.metadata["License-Expression"]}]}


if __name__ == "__main__":
    main()
