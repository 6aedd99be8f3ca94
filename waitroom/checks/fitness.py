"""Whether Redis is fit to hold the queue, looked at now and then while the instance runs.

Most of what makes a Redis unfit shows in no answer until it does harm: an eviction policy that throws places away, a
disk that takes no writes, memory that is about to run out. Each is said once in the log and shown as a metric.
(`waitroom check` asks more, and judges by the same rules.)
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final

from waitroom import metrics
from waitroom.checks.finding import Finding
from waitroom.checks.judgement import judge_eviction, judge_memory, judge_persistence, judge_role
from waitroom.errors import WaitroomError
from waitroom.store.store import Store

logger = logging.getLogger(__name__)

#: Seconds between two looks.
LOOK_SECONDS: Final = 5.0

#: What may be wrong. The first two make instances unready.
FAULTS: Final = ("role", "eviction", "persistence", "memory")


def faults_of(info: Mapping[str, Any]) -> dict[str, Finding]:
    """What is wrong with a primary, from its INFO, by name; what it does not tell is held to be right."""
    judged = (
        judge_role(info.get("role")),
        judge_eviction(info.get("maxmemory_policy")),
        judge_persistence(info, None),
        judge_memory(info),
    )
    return {finding.name: finding for finding in judged if finding.verdict == "fail"}


class Fitness:
    """This instance's look at its Redis. What was seen last stands while it cannot be asked."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, Finding] = {}

    async def look(self) -> None:
        """Look once. Raises Unavailable."""
        found: dict[str, Finding] = {}
        for info in await self._store.ping():
            found |= faults_of(info)
        self._say(found)
        for fault in FAULTS:
            metrics.REDIS_UNFIT.labels(fault).set(fault in found)

    def _say(self, found: dict[str, Finding]) -> None:
        # By name: how much memory is used may be new each time, and is no news.
        for fault in _first(found.keys() - self._known.keys()):
            logger.error("redis is not fit: %s", found[fault].told)
        for fault in _first(self._known.keys() - found.keys()):
            logger.info("redis is fit again, it was: %s", self._known[fault].detail)
        self._known = found

    async def run(self) -> None:
        """Look now and then for ever."""
        while True:
            try:
                await self.look()
            except WaitroomError as error:
                logger.debug("redis cannot be looked at: %s", error)
            await asyncio.sleep(LOOK_SECONDS)


def _first(faults: Iterable[str]) -> list[str]:
    return sorted(faults, key=FAULTS.index)
