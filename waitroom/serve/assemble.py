"""An instance, put together from complete settings."""

from __future__ import annotations

from waitroom.addresses import Proxies
from waitroom.checks.fitness import Fitness
from waitroom.checks.signers import Agreement
from waitroom.errors import SettingsError
from waitroom.proofs import keyring
from waitroom.proofs.challenge import ChallengeOffice
from waitroom.proofs.disguise import Disguise
from waitroom.proofs.passes import PassOffice
from waitroom.proofs.tickets import TicketOffice
from waitroom.proofs.tokens import EnqueueOffice
from waitroom.rooms.registry import Rooms
from waitroom.rooms.streams import Streams, affordable
from waitroom.settings.server import ServerSettings
from waitroom.store.clients import connect
from waitroom.store.clock import Clock
from waitroom.store.store import Store
from waitroom.web.instance import Instance
from waitroom.web.page.rendering import Pages
from waitroom.web.proofs import ProofDesk


def assemble(settings: ServerSettings) -> Instance:
    """An instance from complete settings: `redis_url`, `signing_keys` and `admin_key` must be there.

    Connects to nothing yet. Raises SettingsError for a bad key ring.
    """
    clock = Clock()
    timeout = settings.redis_timeout_seconds
    store = Store(connect(settings.redis_url, timeout_seconds=timeout), clock, timeout_seconds=timeout)
    ring = keyring.parse(settings.signing_keys)
    enqueue_ring = keyring.parse(settings.enqueue_keys, name="enqueue_keys") if settings.enqueue_keys else None
    if enqueue_ring is not None and set(enqueue_ring.secrets.values()) & set(ring.secrets.values()):
        # Also one that was made and kept in a file, which the settings do not know.
        raise SettingsError("enqueue_keys: one of them is a signing key; draw another (`openssl rand -base64 32`)")
    tickets, passes = TicketOffice(ring), PassOffice(ring)
    return Instance(
        settings,
        clock,
        store,
        Rooms(store, settings.rooms, most_waiting=settings.max_backlog),
        tickets,
        passes,
        ProofDesk(tickets, passes, clock, secure=settings.secure),
        Agreement(store, ring),
        Fitness(store),
        Streams(most=affordable(settings.max_streams), most_per_address=settings.max_streams_per_address),
        Proxies.parse(settings.trusted_proxies),
        Disguise(ring),
        EnqueueOffice(enqueue_ring),
        ChallengeOffice(ring),
        Pages(),
    )
