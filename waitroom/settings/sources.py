"""Where the settings of an instance come from: file, environment, command line. And what settings need of each other.

All faults are reported together, by name and value.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from waitroom.errors import SettingsError
from waitroom.proofs import keyring
from waitroom.settings import orchestration
from waitroom.settings.rules import faults_of, value_of
from waitroom.settings.server import ENVIRONMENT_PREFIX, ServerSettings
from waitroom.store import url
from waitroom.texts import stripped, unquoted


def load(
    path: Path | None = None,
    *,
    environment: Mapping[str, str] = os.environ,
    **given: Any,
) -> ServerSettings:
    """The settings: defaults, then the file, then the environment, then what was `given` on the command line.

    Raises SettingsError that lists every fault by name and value.
    """
    document = _set(_from_file(path)) if path else {}
    faults: list[str] = []
    document |= _from_environment(environment, faults)
    document |= _set(given)
    try:
        settings = ServerSettings.model_validate(document)
    except ValidationError as error:
        faults += faults_of(error, ServerSettings)
        settings = _sound_part(document, error)
    faults += _weak_secrets(settings)
    faults += [
        f"rooms.{name}.{fault}"
        for name, room in settings.rooms.items()
        if (fault := settings.fault_of_tokens(room.enqueue_tokens))
    ]
    settings = _with_redis_password(settings, faults)
    if faults:
        # What is missing may be there under a misspelt name.
        raise SettingsError("\n".join(faults + strangers(environment)))
    return settings


def _set(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values without those that set nothing: what is None, or an empty text."""
    return {
        name: value
        for name, value in values.items()
        if value is not None and not (isinstance(value, str) and not stripped(value))
    }


def _sound_part(document: Mapping[str, Any], error: ValidationError) -> ServerSettings:
    """The settings without those that are wrong, so that keys are judged in the same message."""
    wrong = {fault["loc"][0] for fault in error.errors() if fault["loc"]}
    return ServerSettings.model_validate({name: value for name, value in document.items() if name not in wrong})


def _with_redis_password(settings: ServerSettings, faults: list[str]) -> ServerSettings:
    """The settings with the password of `redis_password_file` in `redis_url`."""
    if not settings.redis_password_file or any(fault.startswith("redis_url:") for fault in faults):
        return settings
    path = Path(settings.redis_password_file)
    try:
        if not settings.redis_url:
            raise SettingsError("redis_password_file: needs redis_url, for the embedded server has no password")
        if url.parse(settings.redis_url).password:
            raise SettingsError("redis_password_file: redis_url has a password already: give only one of the two")
        password = url.password_in(path.read_bytes())
        return settings.model_copy(update={"redis_url": url.with_password(settings.redis_url, password)})
    except SettingsError as error:
        faults.append(str(error))
    except OSError as error:
        faults.append(f"redis_password_file: cannot read {str(path)!r}: {error.strerror}")
    return settings


def _from_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise SettingsError(f"config: cannot read {str(path)!r}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"config: {str(path)!r} is not TOML: {error}") from None


def _from_environment(environment: Mapping[str, str], faults: list[str]) -> dict[str, Any]:
    """Each field's text from the environment as the field's kind. What cannot be one stays text and is reported."""
    found: dict[str, Any] = {}
    for name, declared in ServerSettings.model_fields.items():
        variable = ENVIRONMENT_PREFIX + name.upper()
        text = environment.get(variable, "")
        if not unquoted(text) or orchestration.sets(variable, text):
            continue
        try:
            found[name] = value_of(text, declared.annotation, quoted=True)
        except json.JSONDecodeError as error:
            faults.append(f"{variable}: not JSON: {error}")
    return found


def strangers(environment: Mapping[str, str] = os.environ) -> list[str]:
    """One line for each variable that is named like a setting and is none, with the setting that may be meant.

    One line too for all that an orchestrator sets by itself for a service whose name begins with `waitroom`.
    """
    known = {ENVIRONMENT_PREFIX + name.upper() for name in ServerSettings.model_fields}
    lines = orchestration.told(environment)
    for name in sorted(environment):
        if orchestration.sets(name, environment[name]):
            continue
        if name.startswith(ENVIRONMENT_PREFIX) and name not in known:
            meant = get_close_matches(name, known, n=1, cutoff=0.8)
            # A name may hold anything: its line breaks must not look like another line.
            lines.append(f"{repr(name)[1:-1]}: no such setting" + (f" (did you mean {meant[0]}?)" if meant else ""))
    return lines


def _weak_secrets(settings: ServerSettings) -> list[str]:
    faults = _faults_in(settings.enqueue_ring)
    if settings.signing_keys:
        faults += _faults_in(settings.signing_ring)
    elif settings.production:
        faults.append("signing_keys: missing. Production needs one (`openssl rand -base64 32` makes a secret)")
    if settings.production and not settings.admin_key:
        faults.append("admin_key: missing. Production needs one (`openssl rand -base64 32` makes one)")
    if settings.admin_key and keyring.is_weak(settings.admin_key) and settings.production:
        faults.append("admin_key: weak. Production needs at least 32 random characters")
    return faults


def _faults_in(ring: Callable[[], object]) -> list[str]:
    try:
        ring()
    except SettingsError as error:
        return str(error).splitlines()
    return []
