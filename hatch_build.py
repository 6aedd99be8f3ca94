"""hatchling's hook: a bill of materials in the wheel (PEP 770), made of pyproject.toml and constraints.txt alone.

It names what the wheel's extras for operators and clients require, with the versions that the tests ran with. What
those require in turn is known only where they are installed: `make dist` writes that bill beside the wheel.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.requirements import Requirement

FILE_NAME = "waitroom.cdx.json"

#: The extras of those who install waitroom. The others are for a checkout.
EXTRAS = ("server", "client", "asgi")


class BillHook(BuildHookInterface):  # type: ignore[type-arg]
    """Makes the bill before the wheel is packed, and takes the file away afterwards."""

    _folder = ""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Hand the bill to hatchling; an editable installation has none."""
        if version == "editable":
            return
        core = self.metadata.core
        required = {extra: list(map(Requirement, core.optional_dependencies[extra])) for extra in EXTRAS}
        tested = tested_versions(Path(self.root) / "constraints.txt")
        components = direct(core.name, required, tested)
        document = bill(core.name, self.metadata.version, core.license_expression, components)
        self._folder = tempfile.mkdtemp(prefix="waitroom-bill-")
        path = Path(self._folder) / FILE_NAME
        path.write_text(as_text(document), encoding="utf-8")
        build_data["sbom_files"].append(str(path))

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Take the file away."""
        if self._folder:
            shutil.rmtree(self._folder)


def canonical(name: str) -> str:
    """A project's name as packages spell it in their addresses (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def tested_versions(constraints: Path) -> dict[str, str]:
    """The versions in a file of constraints, by canonical name."""
    lines = (line.strip() for line in constraints.read_text(encoding="utf-8").splitlines())
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonical(name): version for name, version in pairs}


def component(name: str, version: str, *, kind: str = "library", **more: Any) -> dict[str, Any]:
    """A package; its address is its reference too."""
    address = f"pkg:pypi/{canonical(name)}@{version}"
    return {"type": kind, "bom-ref": address, "name": name, "version": version, "purl": address, **more}


def direct(own: str, required: Mapping[str, list[Requirement]], tested: Mapping[str, str]) -> list[dict[str, Any]]:
    """A component for each package that an extra requires: the version that was tested, those allowed, the extras.

    An extra that brings another one along names the project itself, which is no component.
    """
    found: dict[str, Requirement] = {}
    extras: dict[str, list[str]] = {}
    for extra, requirements in required.items():
        for requirement in requirements:
            name = canonical(requirement.name)
            if name != canonical(own):
                found.setdefault(name, requirement)
                extras.setdefault(name, []).append(extra)
    return [
        component(
            requirement.name,
            tested[name],
            scope="optional" if requirement.marker else "required",
            properties=[
                {"name": "waitroom:requirement", "value": str(requirement)},
                {"name": "waitroom:extras", "value": " ".join(extras[name])},
            ],
        )
        for name, requirement in found.items()
    ]


def bill(
    name: str,
    version: str,
    license_: str,
    components: list[dict[str, Any]],
    dependencies: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """The bill, in CycloneDX 1.6. Without `dependencies` it says that those of the components are not in it.

    The same arguments give the same bill: its number comes from its content, its time from SOURCE_DATE_EPOCH if set.
    """
    whole = component(name, version, kind="application", licenses=[{"license": {"id": license_}}])
    components = sorted(components, key=lambda one: str(one["bom-ref"]))
    references = [one["bom-ref"] for one in components]
    document: dict[str, Any] = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": whole, "lifecycles": [{"phase": "build"}]},
        "components": components,
        "dependencies": dependencies or [{"ref": whole["bom-ref"], "dependsOn": references}],
    }
    if dependencies is None:
        document["compositions"] = [{"aggregate": "incomplete", "dependencies": references}]
    if "SOURCE_DATE_EPOCH" in os.environ:
        made = datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), UTC)
        document["metadata"]["timestamp"] = made.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {**document, "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, as_text(document))}"}


def as_text(document: Mapping[str, Any]) -> str:
    """A bill as the text of its file."""
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
