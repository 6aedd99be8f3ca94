"""Programs that answer HTTP on a port of this machine."""

from __future__ import annotations

import http.client
import json
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rig.cores import pinned
from rig.ports import free_port
from rig.process import Process

#: Seconds that an answer may take.
_ANSWER_SECONDS: Final = 5.0


class Served(Process):
    """Such a program, ready when it answers `path` with 200. {port} in its command is filled in."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        folder: Path,
        at_core: int | None = None,
        address: str = "127.0.0.1",
        port: int = 0,
        path: str = "/",
        variables: Mapping[str, str] | None = None,
        told_by: signal.Signals = signal.SIGTERM,
    ) -> None:
        """`at_core`: the one core that it runs on; `port`: by default a free one."""
        self.address = address
        self.port = port or free_port()
        self._path = path
        words = [str(word).replace("{port}", str(self.port)) for word in command]
        prefix = () if at_core is None else pinned(at_core)
        super().__init__(name, [*prefix, *words], folder=folder, variables=variables, told_by=told_by)

    @property
    def url(self) -> str:
        """Where it serves."""
        return f"http://{self.address}:{self.port}"

    def ready(self) -> bool:
        """Whether it answers as it shall."""
        return self.get(self._path)[0] == 200

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a GET; status 0 if there is no answer."""
        link = http.client.HTTPConnection(self.address, self.port, timeout=_ANSWER_SECONDS)
        try:
            link.request("GET", path)
            answer = link.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        except (OSError, http.client.HTTPException):
            return 0, ""
        finally:
            link.close()

    def shown(self, path: str) -> Any:
        """The JSON document that a GET is answered with."""
        status, body = self.get(path)
        if status == 0:
            raise ConnectionError(f"{self} does not answer {path}")
        return json.loads(body)
