"""The way back after the wait: the address asked for or the front page, and what an operator learns of a refusal."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection
from typing import Final

from waitroom.metrics import RETURNS_REFUSED
from waitroom.returns import HOME, fault_of

#: Characters of a refused address that the log has at most.
_SHOWN: Final = 200

#: A letter or a digit, behind the escapes that hide neither: those of control characters, signs and the backslash.
_WORD: Final = re.compile(r"(%(?:[012][0-9a-f]|5c|7f))|[^\W_]", re.IGNORECASE)

logger = logging.getLogger(__name__)


def way_back(room: str, asked: str | None, origins: Collection[str] = ()) -> str:
    """The address to send a visitor to. A refused one is counted, and for developers logged."""
    if not asked:
        return HOME
    fault = fault_of(asked, origins)
    if fault is None:
        return asked
    RETURNS_REFUSED.labels(fault).inc()
    logger.debug("room %s: return address refused (%s), %d characters: %s", room, fault, len(asked), outline(asked))
    return HOME


def outline(address: str) -> str:
    """An address with an x for each letter and digit. What is odd in it is seen, and neither a secret nor a text of the
    client's gets into the log."""
    return ascii(_WORD.sub(lambda found: found[1] or "x", address[:_SHOWN]))
