"""The cluster of deploy/, for tests: the same processes, configuration and name server as `make cluster` runs."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from deploy.cluster import Cluster, Instance
from loadtest.watch import looking
from tests.servers import missing
from tests.system.steady import SteadyCrowd


@asynccontextmanager
async def clustered(
    folder: Path,
    *,
    instances: int,
    rooms: Mapping[str, Any],
    settings: Mapping[str, str] | None = None,
    by_name: bool = True,
    named_while_leaving: bool = True,
) -> AsyncIterator[Cluster]:
    """A running cluster with these rooms."""
    if sys.platform != "linux":
        missing("Linux")
    cluster = Cluster(
        folder,
        instances=instances,
        settings={"WAITROOM_ROOMS": json.dumps(rooms), "WAITROOM_REDIS_TIMEOUT_SECONDS": "5", **(settings or {})},
        by_name=by_name,
        named_while_leaving=named_while_leaving,
    )
    await asyncio.to_thread(cluster.__enter__)
    try:
        yield cluster
    finally:
        await asyncio.to_thread(cluster.__exit__)


@asynccontextmanager
async def raw(cluster: Cluster) -> AsyncIterator[Redis]:
    """A raw client on the cluster's Redis; replies are text."""
    async with looking(cluster.redis_url) as client:
        yield client


def tried(cluster: Cluster) -> list[list[str]]:
    """The instances that nginx tried for each request of a visitor to an instance, by address, from its log.

    The gate's checks are not among them: nginx does not log sub-requests.
    """
    log = (cluster.folder / "logs" / "nginx.log").read_text(encoding="utf-8", errors="replace")
    found = re.findall(r'"((?:127\.0\.1\.\d+:\d+(?:, )?)+)" "[^"]*"$', log, re.MULTILINE)
    return [[address.partition(":")[0] for address in each.split(", ")] for each in found]


async def all_serve(cluster: Cluster, crowd: SteadyCrowd, *, instances: Sequence[Instance] | None = None) -> None:
    """Wait until 60 more visits have ended and each instance (default: all) has answered one of them.

    The test's own time-out is the deadline.
    """
    visits, seen = _ended(crowd) + 60, len(tried(cluster))
    wanted = {instance.address for instance in instances or cluster.instances}
    while _ended(crowd) < visits or not wanted <= {each[-1] for each in tried(cluster)[seen:]}:
        await asyncio.sleep(0.1)


def _ended(crowd: SteadyCrowd) -> int:
    return sum(visit.left or bool(visit.errors) for visit in crowd.visits)
