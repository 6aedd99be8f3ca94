"""Whether a Redis is fit to hold a queue, whatever its topology: what `waitroom check` does.

`examine` asks one server, the primary that Sentinels name, or every primary of a cluster.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace

from waitroom.checks.finding import Finding
from waitroom.checks.judgement import ANSWER_SECONDS, judge_cluster, judge_sentinels, judge_url
from waitroom.checks.server import examine_server
from waitroom.errors import SettingsError, Unavailable
from waitroom.store.clients import Clients
from waitroom.store.cluster import Cluster
from waitroom.store.sentinel import Watched
from waitroom.store.single import Single
from waitroom.store.url import RedisUrl, parse, shown


async def examine(url: str, *, answer_seconds: float = ANSWER_SECONDS) -> list[Finding]:
    """Ask the Redis at `url` everything and return the findings, in the order in which to read them.

    Never raises for what is wrong with the URL or the servers: that is a finding. Where no connection comes about,
    that is the only one. In a cluster the findings of each primary carry its address.
    """
    try:
        parsed = parse(url)
        clients = Clients(parsed, timeout_seconds=answer_seconds)
    except SettingsError as error:
        return [judge_url(url, error)]
    if parsed.kind == "sentinel":
        return await _examine_watched(parsed, Watched(parsed, clients, timeout_seconds=answer_seconds), answer_seconds)
    if parsed.kind == "cluster":
        return await _examine_cluster(parsed, Cluster(parsed, clients, timeout_seconds=answer_seconds), answer_seconds)
    async with contextlib.aclosing(Single(parsed, clients)) as single:
        (client,) = await single.primaries()
        return await examine_server(client, parsed, answer_seconds)


async def _examine_watched(url: RedisUrl, servers: Watched, answer_seconds: float) -> list[Finding]:
    async with contextlib.aclosing(servers):
        try:
            (client,) = await servers.primaries()
            states = await servers.states(len(url.hosts))
            if not states:
                raise Unavailable("no Sentinel answers any more")
        except Unavailable as error:
            remedy = (
                "Name every Sentinel, the service by the name that they know, and sentinel_password if they want one."
            )
            return [Finding("sentinels", "fail", f"{url.masked()}: {error}", remedy)]
        found = await examine_server(client, url, answer_seconds)
        return [judge_sentinels(len(url.hosts), states), *found]


async def _examine_cluster(url: RedisUrl, servers: Cluster, answer_seconds: float) -> list[Finding]:
    async with contextlib.aclosing(servers):
        layout = await servers.layout()
        try:
            clients = await servers.primaries()
        except Unavailable as error:
            remedy = "See that these are nodes of a cluster, and allow the user CLUSTER SLOTS (+cluster|slots)."
            return [Finding("cluster", "fail", f"{url.masked()}: {error}", remedy)]
        findings = [judge_cluster(layout)]
        for client in clients:
            settings = client.connection_pool.connection_kwargs
            where = shown((settings["host"], settings["port"]))
            found = await examine_server(client, url, answer_seconds, where)
            findings += [replace(finding, name=f"{where} {finding.name}") for finding in found]
        return findings
