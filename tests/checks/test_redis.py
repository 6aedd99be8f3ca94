"""A cluster and a group with Sentinels, examined as a whole."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rig import clusters
from tests.checks.examining import NAMES, found, verdicts


@pytest.fixture(scope="module")
def cluster() -> Iterator[clusters.Clustered]:
    """Three primaries without replicas."""
    with clusters.clustered(replicas=False) as made:
        yield made


async def test_a_cluster(cluster: clusters.Clustered) -> None:
    """Each primary is looked at; one without a replica is pointed out."""
    findings = await found(cluster.url)
    nodes = [f"127.0.0.1:{node.port}" for node in cluster.primaries]
    alike = [*NAMES[:3], "coverage", *NAMES[3:]]
    assert set(findings) == {"cluster", *(f"{node} {name}" for node in nodes for name in alike)}
    assert set(verdicts(findings)) == {"cluster", *(f"{node} persistence" for node in nodes)}
    assert findings["cluster"].detail == "3 primaries, 0 replicas, 16384 of 16384 slots held"
    assert all(node in findings["cluster"].remedy for node in nodes)


async def test_a_cluster_that_stops_as_a_whole(cluster: clusters.Clustered) -> None:
    """A setting that makes one lost primary everybody's loss is pointed out; so is one that evicts."""
    one, two, _ = cluster.primaries
    one.ask("CONFIG SET", "cluster-require-full-coverage", "yes")
    two.ask("CONFIG SET", "maxmemory-policy", "allkeys-lru")
    findings = await found(cluster.url)
    one.ask("CONFIG SET", "cluster-require-full-coverage", "no")
    two.ask("CONFIG SET", "maxmemory-policy", "noeviction")
    assert verdicts(findings)[f"127.0.0.1:{one.port} coverage"] == "warn"
    assert verdicts(findings)[f"127.0.0.1:{two.port} eviction"] == "fail"


async def test_a_cluster_with_a_node_missing(cluster: clusters.Clustered) -> None:
    """The others are looked at, and the missing one is a failure."""
    _, _, gone = cluster.primaries
    gone.freeze()
    findings = await found(cluster.url, answer_seconds=0.5)
    gone.thaw()
    assert [name for name, verdict in verdicts(findings).items() if verdict == "fail"] == [
        f"127.0.0.1:{gone.port} connection"
    ]


async def test_a_node_of_a_cluster_alone(cluster: clusters.Clustered) -> None:
    """A redis:// URL of a node is told apart."""
    findings = await found(f"redis://127.0.0.1:{cluster.primaries[0].port}")
    assert verdicts(findings)["cluster"] == "fail"
    assert "redis+cluster://" in findings["cluster"].remedy


async def test_no_cluster() -> None:
    findings = await found("redis+cluster://:geheim@127.0.0.1:1")
    assert verdicts(findings) == {"cluster": "fail"}
    assert "geheim" not in repr(findings)


async def test_sentinels() -> None:
    """The primary is looked at; how many Sentinels and replicas there are is told."""
    with clusters.watched() as group:
        findings = await found(group.url)
        assert list(findings) == ["sentinels", *NAMES]
        assert verdicts(findings) == {"persistence": "warn"}
        told = findings["sentinels"].detail
        assert "3 of 3 in the URL answer, 3 know each other, quorum 2" in told
        assert f"the primary is 127.0.0.1:{group.servers[0].port} with 1 replica(s)" in told
        fewer = await found(group.url.replace("//", "//127.0.0.1:1,"))
        assert verdicts(fewer)["sentinels"] == "warn"
        unknown = await found(group.url.replace(f"/{clusters.SERVICE}", "/other"))
        assert verdicts(unknown) == {"sentinels": "fail"}
        assert "No such master" in unknown["sentinels"].detail


async def test_no_sentinels() -> None:
    findings = await found("redis+sentinel://:geheim@127.0.0.1:1,127.0.0.1:2/main?sentinel_password=geheim")
    assert verdicts(findings) == {"sentinels": "fail"}
    assert "geheim" not in repr(findings)
