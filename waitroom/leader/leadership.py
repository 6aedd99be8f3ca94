"""The leader: one instance at a time holds the lease, under a term that only grows.

Leadership makes ticks cheap, it is not what makes them safe: the scripts check every limit themselves and refuse an
older term. A holder counts its lease from before the call that got it, on its own monotonic clock, so it stops before
Redis lets another one in.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable

from waitroom import metrics
from waitroom.errors import Unavailable, WaitroomError
from waitroom.model import Outcome
from waitroom.store.store import Store

logger = logging.getLogger(__name__)


class Leadership:
    """This instance's claim to lead."""

    def __init__(self, store: Store, *, lease_seconds: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.owner = secrets.token_hex(8)
        self._store = store
        self._lease_seconds = lease_seconds
        self._monotonic = monotonic
        self._term = 0
        self._above = 0
        self._deadline = 0.0
        self._renew_at = 0.0

    @property
    def term(self) -> int | None:
        """The term under which this instance may act right now, or None."""
        return self._term if self._monotonic() < self._deadline else None

    async def hold(self) -> int | None:
        """Acquire if the lease is free, renew if it is time to. Returns `term`.

        To be called every tick: a lease that was resigned is taken at the next one. Raises Unavailable when Redis
        cannot be asked and no lease is running.
        """
        now = self._monotonic()
        if self.term is None or now >= self._renew_at:
            try:
                outcome, term = await self._store.lease(
                    "hold", self.owner, ttl_seconds=self._lease_seconds, above=self._above
                )
            except Unavailable:
                # In a cluster the lease may be out of reach while the rooms are not: it is good until its end.
                if self.term is None:
                    metrics.LEADER.set(0)
                    raise
                return self.term
            self._take(outcome, term, asked_at=now)
        return self.term

    def _take(self, outcome: Outcome, term: int, *, asked_at: float) -> None:
        mine = outcome in (Outcome.ACQUIRED, Outcome.RENEWED)
        if outcome is Outcome.ACQUIRED:
            logger.info("leadership acquired: term %d", term)
        elif not mine and self._deadline:
            logger.info("leadership lost: term %d", self._term)
        self._term = term
        self._deadline = asked_at + self._lease_seconds if mine else 0.0
        # A third of the lease leaves two more tries before it ends.
        self._renew_at = asked_at + self._lease_seconds / 3
        metrics.LEADER.set(1 if mine else 0)

    def forget(self, newer: int = 0) -> None:
        """Stop leading without telling anybody: that newer term was seen.

        Mostly its leader has the lease. Where the lease went back to this instance (its node failed over and lost the
        last of it), the next `hold` gets a term above the newer one, or every room would go on refusing this one's.
        """
        self._above = max(self._above, newer)
        self._deadline = 0.0
        metrics.LEADER.set(0)

    async def resign(self) -> None:
        """Give the lease back, so that another instance leads at its next tick. Never raises."""
        self.forget()
        try:
            await self._store.lease("resign", self.owner, ttl_seconds=self._lease_seconds)
        except WaitroomError as error:
            logger.warning("leadership not resigned, another instance leads when the lease runs out: %s", error)
