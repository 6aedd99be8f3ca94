"""The embedded server as it is in operation, append-only file and all, and what it says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from redis import Redis

from rig.cores import OTHER_CORE, on_core
from rig.waiting import until
from waitroom.store.embedded.server import EmbeddedServer


class Embedded(EmbeddedServer):
    """One on the second core, with a client. Its append-only file is rewritten by `settle` alone."""

    name = "redis"

    def __init__(self, folder: Path) -> None:
        """Its data are in `folder` / "redis"."""
        super().__init__(folder / "redis")
        self.client: Redis = Redis()
        self.pid = 0

    def start(self) -> None:
        """Start it; returns when it answers."""
        with on_core(OTHER_CORE):
            super().start()
        self.client = Redis.from_url(self.url, decode_responses=True)
        self.client.config_set("auto-aof-rewrite-percentage", 0)
        self.pid = int(self.info("server")["process_id"])

    def stop(self) -> None:
        """Stop it."""
        self.client.close()
        super().stop()

    def cpu_seconds(self) -> float:
        """CPU time taken so far by the server itself, without a child that rewrites the append-only file."""
        cpu = self.info("cpu")
        return float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"])

    def info(self, section: str) -> dict[str, Any]:
        """One section of INFO."""
        found: dict[str, Any] = self.client.info(section)
        return found

    def settle(self) -> None:
        """Rewrite the append-only file now and wait for it, so that no rewrite falls into a measurement."""
        self.client.bgrewriteaof()
        until(self._has_settled, "the rewrite of the append-only file", seconds=120)

    def _has_settled(self) -> bool:
        state = self.info("persistence")
        return not state["aof_rewrite_in_progress"] and not state["aof_rewrite_scheduled"]
