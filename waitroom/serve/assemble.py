"""An instance, put together from complete settings."""

from __future__ import annotations

from waitroom.addresses import Proxies
from waitroom.checks.fitness import Fitness
from waitroom.checks.signers import Signers
from waitroom.proofs.challenge import ChallengeOffice
from waitroom.proofs.disguise import Disguise
from waitroom.proofs.passes import PassOffice
from waitroom.proofs.tickets import TicketOffice
from waitroom.proofs.tokens import EnqueueOffice
from waitroom.rooms.registry import Rooms
from waitroom.rooms.streams import Streams, affordable
from waitroom.settings.server import ServerSettings
from waitroom.store.clock import Clock
from waitroom.store.servers import connect
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
    ring = settings.signing_ring()
    tickets, passes = TicketOffice(ring), PassOffice(ring)
    return Instance(
        settings,
        clock,
        store,
        Rooms(store, settings.rooms, most_waiting=settings.max_backlog),
        tickets,
        passes,
        ProofDesk(tickets, passes, clock, secure=settings.secure, same_site=settings.same_site),
        Signers(store, ring),
        Fitness(store),
        Streams(most=affordable(settings.max_streams), most_per_address=settings.max_streams_per_address),
        Proxies.parse(settings.trusted_proxies),
        Disguise(ring),
        EnqueueOffice(settings.enqueue_ring()),
        ChallengeOffice(ring),
        Pages(),
    )
