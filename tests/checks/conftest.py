"""Instances that installations for `waitroom doctor` share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rig.instance import Instance, serving
from tests.checks.installations import NAME


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """An instance behind a proxy that it knows: rooms that take those who come, and one that lets nobody in.

    A place in `brief` that is not claimed is free after 5 s: the doctor cannot give back what it gets no cookie for.
    """
    rooms = {"shop": {"capacity": 50}, "brief": {"capacity": 50, "claim_seconds": 5}, "hold": {"state": "paused"}}
    with serving(tmp_path_factory.mktemp("instance"), rooms=rooms, WAITROOM_TRUSTED_PROXIES="127.0.0.1/32") as running:
        yield running


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """The same for a site under https."""
    rooms = {"shop": {"capacity": 50}, "hold": {"state": "paused"}}
    more = {"WAITROOM_TRUSTED_PROXIES": "127.0.0.1/32", "WAITROOM_PUBLIC_URL": f"https://{NAME}"}
    with serving(tmp_path_factory.mktemp("secure"), rooms=rooms, **more) as running:
        yield running
