"""Whether the clocks agree: of Redis, of the proxy, of the instances' machines, and of this machine."""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

from waitroom.checks.finding import Finding
from waitroom.checks.site.line import Answer

#: Seconds by which the clocks of two servers may differ, as two readings to the second tell it; and this machine's.
_SERVERS_SECONDS: Final = 3.0
_OWN_SECONDS: Final = 5.0

_REMEDY: Final = (
    "Let every machine keep its time by NTP: `timedatectl set-ntp true`, and see `timedatectl timesync-status`."
)


@dataclass(frozen=True)
class Reading:
    """An answer that no cache kept: Redis time as it tells it, and this machine's time before and after."""

    answer: Answer
    redis: float | None
    before: float
    after: float


def examine(readings: list[Reading], machines_ahead: list[float]) -> Finding:
    """Compare what the answers tell. `machines_ahead`: how far instances' machines are ahead of Redis."""
    usable = [reading for reading in readings if reading.redis is not None and not reading.answer.kept]
    if not usable and not machines_ahead:
        remedy = "Ask while the room gives places, or give the admin key."
        return Finding("clocks", "unknown", "no answer told the time of Redis", remedy)
    own = _least([_apart(reading.before, reading.after, reading.redis or 0) for reading in usable])
    proxy = _least([ahead for reading in usable if (ahead := _proxy_ahead(reading)) is not None])
    machine = max(machines_ahead, key=abs, default=0.0)
    faults = []
    if abs(machine) > _SERVERS_SECONDS:
        faults.append(f"an instance's machine is {_ahead(machine)} Redis")
    if abs(proxy) > _SERVERS_SECONDS:
        faults.append(f"the proxy in front is {_ahead(proxy)} Redis")
    if faults:
        if abs(own) > _OWN_SECONDS:
            faults.append(f"this machine is {_ahead(own)} Redis")
        return _fail(faults, "Two servers of the site have different times.")
    if abs(own) > _OWN_SECONDS:
        return _fail([f"this machine is {_ahead(own)} Redis"], "Either this machine or the site has a wrong time.")
    return Finding("clocks", "ok", f"this machine is {_ahead(own)} Redis, the proxy {_ahead(proxy)} it")


def _apart(before: float, after: float, moment: float) -> float:
    """How far a clock that went from `before` to `after` is ahead of one that said `moment` meanwhile; 0 within."""
    return max(before - moment, 0.0) + min(after - moment, 0.0)


def _proxy_ahead(reading: Reading) -> float | None:
    try:
        date = parsedate_to_datetime(reading.answer.headers.get("date", "")).timestamp()
    except ValueError:
        return None
    # It is cut to the second, and made after Redis answered: by as much as the answer took, at most.
    return _apart(date - (reading.after - reading.before), date + 1, reading.redis or 0)


def _least(values: list[float]) -> float:
    return min(values, key=abs, default=0.0)


def _ahead(seconds: float) -> str:
    return f"{abs(seconds):.0f} s {'behind' if seconds < 0 else 'ahead of'}"


def _fail(faults: list[str], cause: str) -> Finding:
    return Finding("clocks", "fail", "; ".join(faults), _REMEDY, cause)
