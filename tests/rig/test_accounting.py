"""CPU time and memory by the processes' own account."""

from __future__ import annotations

import subprocess
import sys

from rig import accounting

#: Computes in itself and in a child that lives on, until each has taken a tenth of a second; then says so.
_BUSY = """
import os, sys, time
child = os.fork()
while time.process_time() < 0.1: pass
if child:
    sys.stdin.readline()
else:
    print("done", flush=True)
    time.sleep(60)
"""


class Fixed:
    """Something that took more CPU time each time one looks."""

    name = "fixed"

    def __init__(self) -> None:
        self.taken = 1.0

    def cpu_seconds(self) -> float:
        """Half a second more than before."""
        self.taken += 0.5
        return self.taken


def test_a_bill_is_for_the_block_alone() -> None:
    with accounting.accounted(Fixed()) as bill:
        pass
    assert bill.seconds == {"fixed": 0.5}
    assert bill.us_per(1000) == {"fixed": 500}


def test_children_count() -> None:
    with subprocess.Popen([sys.executable, "-c", _BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"done\n"
        alone = accounting.thread_cpu_us(process.pid) / 1_000_000
        assert accounting.cpu_seconds(process.pid) >= 0.1
        assert accounting.memory_bytes(process.pid)["rss"] > accounting.memory_bytes(process.pid)["uss"] > 0
        assert alone > 0
        for child in accounting.family(process.pid)[1:]:
            child.kill()
        process.kill()
