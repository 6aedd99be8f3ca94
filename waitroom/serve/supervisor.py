"""What watches over several workers."""

from __future__ import annotations

import time
from typing import Final

from uvicorn.supervisors import Multiprocess

#: Seconds between two looks at whether a worker still runs.
_LOOK_SECONDS: Final = 0.5


class Supervisor(Multiprocess):
    """uvicorn's, which at its end lets go of the socket, and can be told once more."""

    def join_all(self) -> None:
        """Wait for the workers, which were told to stop. A second signal to this process tells them again."""
        # Else connections would still be taken, and never answered, once the workers do not listen any more.
        for listening in self.sockets:
            listening.close()
        self.signal_queue.clear()
        while any(worker.process.is_alive() for worker in self.processes):
            if self.signal_queue:
                self.signal_queue.clear()
                self.terminate_all()
            time.sleep(_LOOK_SECONDS)
        super().join_all()
