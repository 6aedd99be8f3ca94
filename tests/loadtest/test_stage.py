"""A stage is what a scenario asks for, and is gone afterwards."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from crowd.books import Books, conserved
from loadtest.batches import Batches, call_costs
from loadtest.stage import staged

pytestmark = pytest.mark.system


def test_a_stage_is_filled_and_open(tmp_path: Path) -> None:
    """1,000 wait, the room admits, two who come one after another are a script call each; then nobody answers."""
    settings = {"capacity": 3, "session_seconds": 60.0, "claim_seconds": 30.0}
    with staged(tmp_path, room="shop", settings=settings, instances=1, through_nginx=False, prefilled=1000) as stage:
        before = Batches.of(stage)
        for _ in range(2):
            asked = urllib.request.Request(f"{stage.url}/v1/rooms/shop/enter", method="POST")
            with urllib.request.urlopen(asked, timeout=10) as answer:
                assert answer.status == 202
        assert Batches.of(stage).mean_since(before) == 1.0
        books = Books.balanced(stage.admin_url, "shop", stage.admin_key)
        assert (books.counts["entered"], conserved(books).holds) == (1002, True)
        assert books.settings["capacity"] == 3
        costs = dict(asyncio.run(call_costs(stage)))
        assert costs[1] > costs[256] > 0
        assert {account.name for account in stage.accounts} == {"waitroom 1", "redis"}
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{stage.url}/livez", timeout=5)
