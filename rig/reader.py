"""A machine for the reader of a document: this one's programs and files, and nothing that is written there stays.

The kernel's namespaces make it: an overlay in memory over the root folder, a network with a loopback of its own, and
process ids of its own. So a document's blocks are run with the ports, names and folders that are written in them,
beside other readers and beside all that runs on this machine.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from rig.machine import missing, program
from rig.process import Process

#: The checkout, in which the reader stands.
ROOT: Final = Path(__file__).parent.parent

#: Seconds that one document may take.
SECONDS: Final = 300

_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

#: How the machine is set up, from a shell in namespaces of its own. Arguments: a folder for what it hands out, the
#: checkout, and the command. `/hand` is that folder.
_MACHINE: Final = """\
set -eu
hand=$1 checkout=$2
shift 2
ip link set lo up
mount -t tmpfs memory /mnt
mkdir /mnt/above /mnt/work /mnt/root
mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/above,workdir=/mnt/work /mnt/root
mkdir -p /mnt/root/hand
mount --bind "$hand" /mnt/root/hand
mount --rbind /dev /mnt/root/dev
mount -t proc proc /mnt/root/proc
mount -t tmpfs memory /mnt/root/run
rm -rf "/mnt/root$checkout/waitroom-data"
exec chroot /mnt/root sh -c 'cd "$0" && exec "$@"' "$checkout" "$@"
"""


#: What the shell does with the file of step N: take its lines, or leave them running and wait until they have said it.
_LINES: Final = {
    False: ". /hand/N.sh >/hand/N.said 2>&1; : >/hand/N.done",
    True: (
        ". /hand/N.sh >/hand/N.said 2>&1 & "
        "for try in $(seq 600); do grep -qFf /hand/N.until /hand/N.said && break; kill -0 $!; sleep 0.1; done; "
        "grep -qFf /hand/N.until /hand/N.said; : >/hand/N.done"
    ),
}


@cache
def check() -> None:
    """Raise Missing where such a machine cannot be made: it takes Linux and the rights of root."""
    if sys.platform != "linux" or os.geteuid() != 0:
        missing("the right to make namespaces (Linux, as root)")
    program("unshare", package="util-linux")
    program("ip", package="iproute2")


@dataclass(frozen=True)
class Step:
    """Lines of shell. With `until` they stay: the reader goes on, in another window, once they have said that."""

    text: str
    until: str = ""


class Stopped(Exception):
    """A step failed, or took too long; the message has its number, its lines and what it said."""


def read(steps: Sequence[Step], hand: Path, *, programs: Sequence[Path] = ()) -> list[str]:
    """Run these steps one after another in one shell, in the checkout; what each of them said.

    So a reader works who pastes them, except that the first command that fails ends it all. `hand` is there as `/hand`,
    and the folders `programs` come first on PATH. What was started ends at the end. Raises Missing and Stopped.
    """
    check()
    lines = ["set -e"]
    for number, step in enumerate(steps):
        (hand / f"{number}.sh").write_text(step.text, encoding="utf-8")
        lines.append(f"{_LINES[bool(step.until)]}".replace("N", str(number)))
        if step.until:
            (hand / f"{number}.until").write_text(step.until, encoding="utf-8")
    command = [program("unshare"), "--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", _MACHINE]
    path = os.pathsep.join([*map(str, programs), _PATH])
    reader = Process(
        "machine",
        [*command, "machine", hand, ROOT, "bash", "-c", "\n".join(lines)],
        folder=hand,
        # Nothing of this process: `make test ARGS=…` hands on its own arguments by the environment.
        variables={"HOME": "/root", "PATH": path, "LANG": "C.UTF-8"},
    )
    reader.start()
    late = reader.wait(SECONDS) < 0
    for number, step in enumerate(steps):
        if not (hand / f"{number}.done").exists():
            said = _said(hand, number) or reader.said()
            raise Stopped(f"step {number} {'was not done in time' if late else 'failed'}:\n{step.text}\n{said}")
    return [_said(hand, number) for number, _ in enumerate(steps)]


def _said(hand: Path, number: int) -> str:
    path = hand / f"{number}.said"
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
