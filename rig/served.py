"""Programs that answer HTTP on a port of this machine."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from rig.cores import pinned
from rig.ports import free_port
from rig.process import Process


class Served(Process):
    """Such a program, ready when it answers `path` with 200. {port} in its command is filled in."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        folder: Path,
        at_core: int | None = None,
        port: int = 0,
        path: str = "/",
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """`at_core`: the one core that it runs on; `port`: by default a free one."""
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._path = path
        words = [str(word).format(port=self.port) for word in command]
        prefix = () if at_core is None else pinned(at_core)
        super().__init__(name, [*prefix, *words], folder=folder, variables=variables)

    def ready(self) -> bool:
        """Whether it answers as it shall."""
        return self.status(self._path) == 200

    def status(self, path: str) -> int:
        """The status that a GET is answered with; 0 if there is no answer."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0
