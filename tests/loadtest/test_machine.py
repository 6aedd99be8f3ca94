"""Whoever takes CPU time during a run is found, on whatever account."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from loadtest.machine import accounting

_BURN = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ninput()"


class Server:
    """This very process, as if it were a server."""

    name = "server"

    def cpu_seconds(self) -> float:
        """What it took so far."""
        return time.process_time()


def test_who_took_the_machine() -> None:
    """A process that nobody accounts for counts as others; a server has an account of its own."""
    began = time.monotonic()
    with subprocess.Popen([sys.executable, "-c", _BURN], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as burning:
        assert burning.stdout is not None
        with accounting(Server()) as account:
            burning.stdout.readline()
            while time.process_time() < 0.2:
                pass
        whole = (time.monotonic() - began) * (os.cpu_count() or 1)
        burning.communicate(b"\n")
    # The system counts in hundredths of a second, and the process began a little before the account.
    assert account.others * whole > 0.15
    assert 0 <= account.stolen <= 1
    assert account.servers.seconds["server"] >= 0
