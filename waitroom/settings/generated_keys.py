"""Keys that are not set: made at the first start, and kept in the data folder for the next one."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from waitroom.errors import SettingsError
from waitroom.proofs import keyring
from waitroom.settings.server import ServerSettings
from waitroom.texts import line_in

_SIGNING = "signing-key"
_ADMIN = "admin-key"


def completed(settings: ServerSettings) -> ServerSettings:
    """The settings with signing and admin keys, from the data folder where none are set.

    Raises SettingsError when the folder cannot be used.
    """
    given: dict[str, object] = {}
    folder = Path(settings.data_dir)
    if not settings.signing_keys:
        entry = _kept(folder / _SIGNING, keyring.fresh_entry())
        try:
            keyring.parse([entry])
        except SettingsError as error:
            raise SettingsError(f"data_dir: {str(folder / _SIGNING)!r} is damaged: {error}") from None
        given["signing_keys"] = [entry]
    if not settings.admin_key:
        given["admin_key"] = _kept(folder / _ADMIN, secrets.token_urlsafe(keyring.SECRET_BYTES))
    return settings.model_copy(update=given)


def admin_key_file(settings: ServerSettings) -> Path:
    """Where a generated admin key is kept."""
    return Path(settings.data_dir) / _ADMIN


def signing_key_file(settings: ServerSettings) -> Path:
    """Where a generated signing key is kept."""
    return Path(settings.data_dir) / _SIGNING


def _kept(path: Path, fresh: str) -> str:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Written aside and linked into place: of two processes that start at once, both read the same key.
        draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        draft.touch(mode=0o600)
        draft.write_text(fresh + "\n", encoding="ascii")
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
        kept = line_in(path.read_bytes())
    except OSError as error:
        raise SettingsError(f"data_dir: cannot keep a key in {str(path.parent)!r}: {error.strerror}") from None
    except ValueError:
        kept = ""
    if keyring.is_weak(kept):
        raise SettingsError(
            f"data_dir: {str(path)!r} does not hold a key as waitroom makes them: remove the file, or mend it"
        )
    return kept
