"""The cluster of deploy/, for tests: the same processes, configuration and name server as `make cluster` runs."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from crowd.visitors import SteadyCrowd
from rig.composed import Composed
from rig.instance import Instance


@asynccontextmanager
async def clustered(
    folder: Path,
    *,
    instances: int,
    rooms: Mapping[str, Any],
    settings: Mapping[str, str] | None = None,
    **how: Any,
) -> AsyncIterator[Composed]:
    """A running cluster with these rooms; `how` is its own."""
    given = {"WAITROOM_ROOMS": json.dumps(rooms), "WAITROOM_REDIS_TIMEOUT_SECONDS": "5", **(settings or {})}
    cluster = Composed(folder, instances=instances, settings=given, **how)
    await asyncio.to_thread(cluster.__enter__)
    try:
        yield cluster
    finally:
        await asyncio.to_thread(cluster.__exit__)


def raw(cluster: Composed) -> Redis:
    """A raw client on the cluster's Redis, to be entered; replies are text."""
    return Redis.from_url(cluster.redis_url, decode_responses=True, protocol=2)


def tried(cluster: Composed) -> list[list[str]]:
    """The instances that nginx tried for each request of a visitor to an instance, by address, from its log.

    The gate's checks are not among them: nginx does not log sub-requests.
    """
    log = (cluster.logs / "nginx.log").read_text(encoding="utf-8", errors="replace")
    found = re.findall(r'"((?:127\.0\.1\.\d+:\d+(?:, )?)+)" "[^"]*"$', log, re.MULTILINE)
    return [[address.partition(":")[0] for address in each.split(", ")] for each in found]


async def all_serve(cluster: Composed, crowd: SteadyCrowd, *, instances: Sequence[Instance] | None = None) -> None:
    """Wait until 60 more visits have ended and each instance (default: all) has answered one of them.

    The test's own time-out is the deadline.
    """
    visits, seen = crowd.ended + 60, len(tried(cluster))
    wanted = {instance.address for instance in instances or cluster.instances}
    while crowd.ended < visits or not wanted <= {each[-1] for each in tried(cluster)[seen:]}:
        await asyncio.sleep(0.1)
