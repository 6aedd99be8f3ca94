"""One server process: what it holds, put together. Everything in it can be rebuilt from the settings and Redis."""

from __future__ import annotations

from dataclasses import dataclass, field

from waitroom import keyring
from waitroom.addresses import Disguise, Proxies
from waitroom.agreement import Agreement
from waitroom.challenge import ChallengeOffice
from waitroom.clock import Clock
from waitroom.connections import connect
from waitroom.enqueue import EnqueueOffice
from waitroom.errors import SettingsError
from waitroom.fitness import Fitness
from waitroom.passes import PassOffice
from waitroom.rooms import Rooms
from waitroom.settings import ServerSettings
from waitroom.store import Store
from waitroom.streams import Streams, affordable
from waitroom.tickets import TicketOffice


@dataclass
class Drain:
    """Whether the instance is on its way out: it still serves, but nobody new should be sent to it."""

    started: bool = False


@dataclass(frozen=True)
class Instance:
    """The parts that the web floor works with."""

    settings: ServerSettings
    clock: Clock
    store: Store
    rooms: Rooms
    tickets: TicketOffice
    passes: PassOffice
    agreement: Agreement
    fitness: Fitness
    streams: Streams
    proxies: Proxies
    disguise: Disguise
    enqueue_tokens: EnqueueOffice
    challenges: ChallengeOffice
    drain: Drain = field(default_factory=Drain)


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
    return Instance(
        settings,
        clock,
        store,
        Rooms(store, settings.rooms, most_waiting=settings.max_backlog),
        TicketOffice(ring),
        PassOffice(ring),
        Agreement(store, ring),
        Fitness(store),
        Streams(most=affordable(settings.max_streams), most_per_address=settings.max_streams_per_address),
        Proxies.parse(settings.trusted_proxies),
        Disguise(ring),
        EnqueueOffice(enqueue_ring),
        ChallengeOffice(ring),
    )
