"""Variables that an orchestrator sets by itself, and that look like settings of ours.

Kubernetes gives each container variables for every Service of the namespace, named after it: for `waitroom` they are
WAITROOM_SERVICE_HOST, WAITROOM_PORT=tcp://10.0.0.1:8000, WAITROOM_PORT_8000_TCP_ADDR and others. Docker's links are
alike. None of them is a setting, whatever its name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_NAME: Final = re.compile(
    r"(?P<service>WAITROOM(?:_[A-Z0-9]+)*?)_"
    r"(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)

#: What WAITROOM_PORT is then: no port that could be listened on.
_ADDRESS: Final = re.compile(r"(?:tcp|udp|sctp)://\S+")


def sets(name: str, text: str) -> bool:
    """Whether this variable, with that text, is one that an orchestrator sets for a service."""
    return _service(name, text) is not None


def told(environment: Mapping[str, str]) -> list[str]:
    """One line for each such service: which variables there are, where they come from, and how to be rid of them."""
    found: dict[str, list[str]] = {}
    for name in sorted(environment):
        service = _service(name, environment[name])
        if service is not None:
            found.setdefault(service, []).append(name)
    return [_line(service, names) for service, names in sorted(found.items())]


def _line(service: str, names: list[str]) -> str:
    others = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return (
        f"{names[0]}{others}: set by Kubernetes for the Service {service}, not by you, and not read. "
        "`enableServiceLinks: false` in the Pod's spec keeps such variables away"
    )


def _service(name: str, text: str) -> str | None:
    match = _NAME.fullmatch(name)
    if match is None or (name.endswith("_PORT") and "_PORT_" not in name and not _is_link(name, text)):
        return None
    return match["service"].lower().replace("_", "-")


def _is_link(name: str, text: str) -> bool:
    return name.endswith("_SERVICE_PORT") or _ADDRESS.fullmatch(text.strip()) is not None
