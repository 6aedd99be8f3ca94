"""Whether all instances on one Redis sign alike.

Two instances that hold different secrets under the same key id take each other's tickets for forged, and every visitor
whom a balancer sends from one to the other loses the place. So each notes a fingerprint of its signing key in Redis,
under the key's id, for as long as it lives; one that finds another's there is not ready and says why.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from waitroom.checks.finding import Finding
from waitroom.errors import WaitroomError
from waitroom.proofs.keyring import Keyring
from waitroom.store.store import Store

logger = logging.getLogger(__name__)

#: Seconds between two looks.
LOOK_SECONDS: Final = 5.0

#: Seconds for which a fingerprint stands that no instance renews.
NOTED_SECONDS: Final = 30.0


class Signers:
    """This instance's part in it. `fault` says what is wrong, and is None while nothing is known to be."""

    def __init__(self, store: Store, keyring: Keyring) -> None:
        self.fault: Finding | None = None
        self._vacant = False
        self._store = store
        self._kid = keyring.signer
        self._fingerprint = keyring.fingerprint()

    async def look(self) -> None:
        """Note the own fingerprint, or find another's. Raises Unavailable, RoomBroken."""
        if self.fault and not self._vacant:
            # Should the note be lost, the instances that were there first go first.
            self._vacant = await self._store.noted_signer(self._kid) is None
            if self._vacant:
                return
        noted = await self._store.note_signer(self._kid, self._fingerprint, seconds=NOTED_SECONDS)
        fault = None if noted == self._fingerprint else _disagreement(self._kid)
        if fault and not self.fault:
            logger.error("%s", fault.told)
        self.fault, self._vacant = fault, False

    async def run(self) -> None:
        """Look now and then for ever; what is known stays while Redis cannot be asked."""
        while True:
            try:
                await self.look()
            except WaitroomError as error:
                logger.debug("the signers cannot be compared: %s", error)
            await asyncio.sleep(LOOK_SECONDS)


def _disagreement(kid: str) -> Finding:
    return Finding(
        "signers",
        "fail",
        f"signing_keys: other instances on this Redis sign with another secret under the id {kid!r}",
        "Give all the same keys, and a new secret a new id.",
    )
