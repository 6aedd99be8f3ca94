"""Which faults happen when: a pure function of the seed and the length of the run.

Storms and quiet spells take turns. In a storm some lanes are struck; within a lane one fault follows the other, and
faults of several lanes overlap. Each has ended when its storm does, the last well before the end of the run.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from rig.faults import KINDS

#: Seconds at the beginning without a fault, and at the end.
WARM_UP_SECONDS: Final = 5.0
LAST_QUIET_SECONDS: Final = 6.0

#: Seconds that a storm lasts, and the quiet spell after it.
_STORM_SECONDS: Final = (6.0, 22.0)
_QUIET_SECONDS: Final = (5.0, 10.0)

#: Seconds between two faults of a lane.
_PAUSE_SECONDS: Final = (0.5, 4.0)

#: What a fault of no length counts for: else there would be more of those than of all others.
_AT_ONCE_SECONDS: Final = 3.0

#: How many lanes a storm strikes, each number as likely as it is often in here.
_LANES_STRUCK: Final = (1, 1, 2, 2, 3, 5)

#: Seconds below which there is no point in a run.
SHORTEST_SECONDS: Final = 25.0


@dataclass(frozen=True)
class Odds:
    """Of a kind of fault: how often it is drawn in its lane, and how long it lasts, in seconds.

    `value`: least and most of what is drawn with it. `at_instance`: it strikes one of the instances.
    """

    weight: float
    lasts: tuple[float, float] = (0.0, 0.0)
    value: tuple[float, float] | None = None
    at_instance: bool = False


#: Every kind that is drawn. README.md says what each does.
ODDS: Final[dict[str, Odds]] = {
    "refused": Odds(1, (0.3, 5.0)),
    "black hole": Odds(1, (0.3, 5.0)),
    "replies held": Odds(1, (0.3, 5.0)),
    "replies lost": Odds(2, (1.0, 5.0)),
    "resets": Odds(1, (1.0, 5.0)),
    "truncated": Odds(1, (1.0, 5.0)),
    "slow": Odds(2, (2.0, 6.0), value=(0.05, 0.6)),
    "frozen": Odds(2, (0.3, 5.0)),
    "killed": Odds(2, (0.1, 3.0)),
    "scripts flushed": Odds(1, (1.0, 4.0)),
    "connections killed": Odds(1, (0.5, 3.0)),
    "out of memory": Odds(1, (1.0, 5.0)),
    "busy": Odds(1, (0.3, 3.0)),
    "no replicas": Odds(1, (0.5, 4.0)),
    # Rare: most of what is promised is promised as long as no data are lost.
    "emptied": Odds(0.2, (0.1, 2.0)),
    "instance killed": Odds(2, (0.0, 3.0), at_instance=True),
    "instance frozen": Odds(2, (3.0, 6.0), at_instance=True),
    "instance restarted": Odds(1, (0.0, 1.0), at_instance=True),
    "all restarted": Odds(0.5, (8.0, 12.0)),
    "key rotated": Odds(1, (12.0, 16.0)),
    "nginx reloaded": Odds(2),
    "nginx worker killed": Odds(1),
    "capacity changed": Odds(3, (1.0, 6.0), value=(2, 40)),
    "rate changed": Odds(3, (1.0, 6.0), value=(2, 30)),
    "paused": Odds(1, (0.5, 4.0)),
    "closed": Odds(1, (0.5, 4.0)),
    "revoked": Odds(2, value=(0.0, 1.0)),
}

LANES: Final = tuple(dict.fromkeys(KINDS[kind].lane for kind in ODDS))

#: Whom a fault of an instance strikes; the leader more often than its share.
_TARGETS: Final = ("leader", "leader", "1", "2", "3")


@dataclass(frozen=True)
class Fault:
    """One fault: when it begins and how long it lasts, in seconds since the beginning of the run."""

    kind: str
    at: float
    lasts: float = 0.0
    target: str = ""
    value: float = 0.0

    @property
    def until(self) -> float:
        """When it is over."""
        return self.at + self.lasts

    @property
    def lane(self) -> str:
        """What it strikes."""
        return KINDS[self.kind].lane

    def __str__(self) -> str:
        target = f" {self.target}" if self.target else ""
        value = f" {self.value:.2f}" if ODDS[self.kind].value else ""
        return f"{self.at:6.1f} to {self.until:6.1f} s  {self.kind}{target}{value}"


def draw(seed: int, seconds: float, only: Collection[str] = ()) -> list[Fault]:
    """The faults of a run of so many seconds, in order; of these kinds `only`, if any are named.

    Raises ValueError for a run that is too short, and for a kind that there is not.
    """
    unknown = set(only) - ODDS.keys()
    if unknown:
        raise ValueError(f"there is no kind of fault {min(unknown)!r}: choose from {', '.join(ODDS)}")
    kinds = [kind for kind in ODDS if not only or kind in only]
    lanes = tuple(dict.fromkeys(KINDS[kind].lane for kind in kinds))
    if seconds < SHORTEST_SECONDS:
        raise ValueError(f"a campaign takes at least {SHORTEST_SECONDS:g} seconds, not {seconds:g}")
    dice = random.Random(seed)
    faults: list[Fault] = []
    end, now = seconds - LAST_QUIET_SECONDS, WARM_UP_SECONDS
    while end - now >= _STORM_SECONDS[0]:
        over = min(now + dice.uniform(*_STORM_SECONDS), end)
        for lane in dice.sample(lanes, min(dice.choice(_LANES_STRUCK), len(lanes))):
            faults += _strikes(dice, [kind for kind in kinds if KINDS[kind].lane == lane], now, over)
        now = over + dice.uniform(*_QUIET_SECONDS)
    return sorted(faults, key=lambda fault: fault.at)


def _strikes(dice: random.Random, kinds: Sequence[str], begin: float, end: float) -> Iterator[Fault]:
    """The faults of one lane, which has these kinds, in one storm; none that would not be over with it."""
    now = begin + dice.uniform(0, _PAUSE_SECONDS[1])
    while True:
        fitting = [kind for kind in kinds if now + ODDS[kind].lasts[0] <= end]
        if not fitting:
            return
        kind = dice.choices(fitting, [ODDS[each].weight for each in fitting])[0]
        odds = ODDS[kind]
        lasts = min(dice.uniform(*odds.lasts), end - now)
        target = dice.choice(_TARGETS) if odds.at_instance else ""
        value = dice.uniform(*odds.value) if odds.value else 0.0
        yield Fault(kind, _cut(now), _cut(lasts), target, _cut(value))
        now += max(lasts, _AT_ONCE_SECONDS) + dice.uniform(*_PAUSE_SECONDS)


def _cut(number: float) -> float:
    """To the hundredth, never more: so that nothing outlasts its storm."""
    return math.floor(number * 100) / 100


def told(faults: Sequence[Fault]) -> str:
    """The schedule as text, a line for each fault."""
    return "\n".join(map(str, faults)) if faults else "no faults"
