"""Keys that nobody has set."""

from __future__ import annotations

import stat
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from waitroom.errors import SettingsError
from waitroom.proofs import keyring
from waitroom.settings import generated_keys
from waitroom.settings.server import ServerSettings


def settings(folder: Path, **given: object) -> ServerSettings:
    """Settings with that data folder."""
    return ServerSettings.model_validate({"data_dir": str(folder), **given})


def made_in(folder: str) -> tuple[list[str], str]:
    """The keys that a process finds or makes there."""
    completed = generated_keys.completed(settings(Path(folder)))
    return completed.signing_keys, completed.admin_key


def test_missing_keys_are_made_and_strong(tmp_path: Path) -> None:
    """Both keys are random, good enough for production, and different."""
    signing_keys, admin_key = made_in(str(tmp_path / "data"))
    ring = keyring.parse(signing_keys)
    assert ring.signer == "k1"
    assert not keyring.is_weak(admin_key)
    assert admin_key not in signing_keys[0]
    assert made_in(str(tmp_path / "other")) != (signing_keys, admin_key)


def test_keys_outlive_a_restart(tmp_path: Path) -> None:
    """The second start finds the keys of the first, so tickets stay good."""
    assert made_in(str(tmp_path)) == made_in(str(tmp_path))


def test_keys_are_their_owners_alone(tmp_path: Path) -> None:
    """The folder is closed to others and so is each file; nothing else is left behind."""
    folder = tmp_path / "data"
    made_in(str(folder))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {path.name for path in folder.iterdir()} == {"signing-key", "admin-key"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_the_admin_keys_file_is_told(tmp_path: Path) -> None:
    """The file that the log names holds the key."""
    completed = generated_keys.completed(settings(tmp_path))
    assert generated_keys.admin_key_file(completed).read_text().strip() == completed.admin_key


def test_given_keys_are_kept_and_not_written(tmp_path: Path) -> None:
    """What is set is used as it is, and nothing is put on disk."""
    given = settings(tmp_path / "data", admin_key="x" * 40, signing_keys=[keyring.fresh_entry("mine")])
    assert generated_keys.completed(given) == given
    assert not (tmp_path / "data").exists()


def test_one_given_key_leaves_the_other_to_be_made(tmp_path: Path) -> None:
    """Each key is looked at by itself."""
    completed = generated_keys.completed(settings(tmp_path, admin_key="x" * 40))
    assert completed.admin_key == "x" * 40
    assert {path.name for path in tmp_path.iterdir()} == {"signing-key"}
    assert completed.signing_keys


def test_processes_that_start_at_once_agree(tmp_path: Path) -> None:
    """Whoever comes first makes the key; the others read it."""
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        found = list(pool.map(made_in, [str(tmp_path / "data")] * 12))
    assert len({(tuple(signing_keys), admin_key) for signing_keys, admin_key in found}) == 1


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    """A file in the folder's place is one sentence that names setting and path."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"^data_dir: cannot keep a key in .*file.*$"):
        made_in(str(tmp_path / "file"))


@pytest.mark.parametrize("content", ["", "\n", "short", "k1:short", "no colon but long enough to be a key"])
@pytest.mark.parametrize("name", ["signing-key", "admin-key"])
def test_a_damaged_key_is_named(tmp_path: Path, name: str, content: str) -> None:
    """A key file that holds no good key is refused by its path, and not replaced: the old key may still be in use."""
    made_in(str(tmp_path))
    (tmp_path / name).write_text(content)
    if name == "admin-key" and len(content) > 32:
        return
    with pytest.raises(SettingsError, match=name):
        made_in(str(tmp_path))
    assert (tmp_path / name).read_text() == content
