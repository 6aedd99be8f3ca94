"""One server for one folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.store.embedded.scene import process_id
from waitroom.errors import EmbeddedError
from waitroom.store.embedded.folder import running_url
from waitroom.store.embedded.server import EmbeddedServer


def test_second_server_on_the_folder_is_refused(binary: Path, folder: Path) -> None:
    """The refusal names folder, process and URL, and the first server goes on undisturbed."""
    with EmbeddedServer(folder, binary=binary) as first:
        with pytest.raises(EmbeddedError) as refused, EmbeddedServer(folder, binary=binary):
            pass
        assert str(refused.value) == (
            f"the data folder {folder} is in use by process {os.getpid()}:"
            f" give another --data-dir, or share its queue with --redis-url {first.url}"
        )
        assert process_id(first.url)
        assert running_url(folder) == first.url


def test_running_url_of_no_folder(tmp_path: Path) -> None:
    assert running_url(tmp_path / "nowhere") is None
