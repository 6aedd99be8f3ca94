"""An instance: `waitroom serve` as a process, what it says of itself, and an operator's calls."""

from __future__ import annotations

import json
import signal
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rig.ports import free_port
from rig.process import environment
from rig.served import Served
from rig.waiting import PATIENCE_SECONDS, until
from waitroom.store.embedded.folder import running_url

#: The signing keys and the admin key of instances that are tested. Both are good in production.
KEYS: Final = "k1:0123456789abcdefghijklmnopqrstuvwxyzABCDEF"
ADMIN_KEY: Final = "an-admin-key-of-0123456789-ABCDEFGHIJ"

#: The program.
COMMAND: Final = (sys.executable, "-m", "waitroom")

#: Starts a program as a shell with `&` does: Ctrl-C is ignored, and so it is in all that the program starts.
IN_BACKGROUND: Final = ("/bin/sh", "-c", 'trap "" INT; exec "$@"', "background")


def in_group(group: Path) -> tuple[str, ...]:
    """What starts a program in a control group."""
    return ("/bin/sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', str(group))


def variables(**settings: object) -> dict[str, str]:
    """Server settings as the environment has them: redis_timeout_seconds is WAITROOM_REDIS_TIMEOUT_SECONDS."""

    def text(value: object) -> str:
        if isinstance(value, list | tuple):
            return ",".join(map(str, value))
        return json.dumps(value) if isinstance(value, Mapping) else str(value)

    return {f"WAITROOM_{name.upper()}": text(value) for name, value in settings.items()}


class Instance(Served):
    """One `waitroom serve`, which can be started again where it was.

    `prefix` is what starts the program: `in_group(...)`, taskset, IN_BACKGROUND. Its data are in `folder` / "data".
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        name: str = "",
        address: str = "127.0.0.1",
        port: int = 0,
        prefix: Sequence[str] = (),
        command: Sequence[str] = COMMAND,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """`arguments`: more of the command line; `port`: by default a free one; `variables`: more environment."""
        port = port or free_port()
        folder = folder.absolute()
        super().__init__(
            name or f"waitroom-{port}",
            [*prefix, *command, "serve", "--host", address, "--port", "{port}", *arguments],
            folder=folder,
            address=address,
            port=port,
            path="/readyz",
            variables=environment(**{"WAITROOM_DATA_DIR": str(folder / "data"), **(variables or {})}),
            # Without a drain, as Ctrl-C does.
            told_by=signal.SIGINT,
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.address})"

    def __exit__(self, *unused: object) -> None:
        """Stop it, and wait until an embedded server that it had is gone too."""
        super().__exit__(*unused)
        until(lambda: running_url(self.data) is None, "the end of the embedded server", seconds=20)

    @property
    def data(self) -> Path:
        """The folder of its data."""
        return Path(self.variables["WAITROOM_DATA_DIR"])

    def stop(self, *, seconds: float = PATIENCE_SECONDS) -> int:
        """End it by SIGTERM, frozen or not, as a supervisor does; the exit code, 0 where it was never started.

        It is killed where it takes more than so many seconds.
        """
        if self._program is None:
            return 0
        self.thaw()
        # To itself: its workers, told by it and by us, would stop at once.
        self.signal(signal.SIGTERM)
        return self.wait(seconds)

    def reasons(self) -> str:
        """Why it is not ready, as it says; empty where it is."""
        status, body = self.get("/readyz")
        if status == 0:
            return "no answer"
        return "" if status == 200 else str(json.loads(body)["detail"])

    def leads(self) -> bool:
        """Whether its scheduler acts."""
        return "\nwaitroom_leader 1.0" in self.get("/metrics")[1]

    def operate(
        self, method: str, path: str, document: Mapping[str, Any], *, seconds: float = PATIENCE_SECONDS
    ) -> None:
        """An operator's call with the admin key that it was given. Raises OSError: HTTPError where it is refused."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=json.dumps(document).encode(),
            headers={
                "Authorization": f"Bearer {self.variables['WAITROOM_ADMIN_KEY']}",
                "Content-Type": "application/json",
            },
        )
        with urllib.request.urlopen(request, timeout=seconds):
            pass


def serving(
    folder: Path,
    *,
    rooms: Mapping[str, Any],
    redis_url: str = "",
    prefix: Sequence[str] = (),
    command: Sequence[str] = COMMAND,
    **more: str,
) -> Instance:
    """An instance for a test, with these rooms and our keys, on its embedded server unless a URL is given.

    A busy machine does not make its calls of Redis fail, unless `more` of the environment says so.
    """
    given = variables(rooms=rooms, redis_url=redis_url, signing_keys=KEYS, admin_key=ADMIN_KEY, redis_timeout_seconds=5)
    return Instance(folder, prefix=prefix, command=command, variables={**given, **more})
