"""How many visitors a script call serves on average: the more, the less each of them costs Redis."""

from __future__ import annotations

import re
import urllib.request
from dataclasses import dataclass
from typing import Final

from loadtest.stage import Stage

_LINE: Final = re.compile(r'^waitroom_batch_size_(sum|count)\{[^}]*"enter"[^}]*\} (\S+)$', re.MULTILINE)


@dataclass(frozen=True)
class Batches:
    """Calls of the script `enter` so far, and the visitors in them, on all instances."""

    calls: float
    visitors: float

    @classmethod
    def of(cls, stage: Stage) -> Batches:
        """What the instances' metrics say."""
        counted = {"count": 0.0, "sum": 0.0}
        for server in stage.processes:
            if server.name.startswith("waitroom"):
                with urllib.request.urlopen(f"{server.url}/metrics", timeout=10) as answer:  # noqa: S310 - ours
                    for kind, value in _LINE.findall(answer.read().decode()):
                        counted[kind] += float(value)
        return cls(counted["count"], counted["sum"])

    def mean_since(self, before: Batches) -> float:
        """Visitors per call since then; 0 if there was none."""
        calls = self.calls - before.calls
        return (self.visitors - before.visitors) / calls if calls else 0.0
