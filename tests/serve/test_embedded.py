"""The embedded server of a `serve` without a URL; that it is started again: tests/system/test_loss.py."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from rig.waiting import until
from tests.store.embedded.scene import process_id
from waitroom.serve.embedded import kept_alive


def test_a_server_that_cannot_be_started_again_ends_the_process(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As SIGTERM does, so that what supervises this process sees it; the log says why."""
    told: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: told.append(number))
    try:
        with kept_alive(tmp_path / "data") as url:
            (tmp_path / "data" / "appendonlydir" / "appendonly.aof.manifest").write_text("nonsense\n")
            os.kill(process_id(url), signal.SIGKILL)
            until(lambda: told, "the word")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert told == [signal.SIGTERM]
    assert "the embedded server cannot be started again: " in caplog.text
