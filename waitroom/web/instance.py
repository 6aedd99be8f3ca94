"""One server process: what it holds, put together. Everything in it can be rebuilt from the settings and Redis."""

from __future__ import annotations

from dataclasses import dataclass, field

from waitroom.addresses import Proxies
from waitroom.checks.fitness import Fitness
from waitroom.checks.signers import Signers
from waitroom.proofs.challenge import ChallengeOffice
from waitroom.proofs.disguise import Disguise
from waitroom.proofs.passes import PassOffice
from waitroom.proofs.tickets import TicketOffice
from waitroom.proofs.tokens import EnqueueOffice
from waitroom.rooms.registry import Rooms
from waitroom.rooms.streams import Streams
from waitroom.settings.server import ServerSettings
from waitroom.store.clock import Clock
from waitroom.store.store import Store
from waitroom.web.page.rendering import Pages
from waitroom.web.proofs import ProofDesk


@dataclass
class Drain:
    """Whether the instance is on its way out: it still serves, but no new visitor should be sent to it."""

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
    desk: ProofDesk
    signers: Signers
    fitness: Fitness
    streams: Streams
    proxies: Proxies
    disguise: Disguise
    enqueue_tokens: EnqueueOffice
    challenges: ChallengeOffice
    pages: Pages
    drain: Drain = field(default_factory=Drain)
