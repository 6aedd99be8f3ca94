"""A machine that boots systemd: namespaces of its own for everything, this machine's files below an overlay.

Nothing that happens in it reaches this machine: files are written to memory, the network is a loopback device of its
own, processes end with the first one. Wants root, and a kernel that lets it make namespaces and mounts.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rig.instance import in_group
from rig.machine import missing
from rig.process import Ended, Process
from rig.waiting import until

#: Seconds that one command may take.
_PATIENCE_SECONDS: Final = 90

_SYSTEMD: Final = Path("/lib/systemd/systemd")
_TARGETS: Final = ("sysinit", "basic", "shutdown", "network", "network-online", "multi-user")

# Run in the new namespaces, with an empty folder, the project and the program: $1, $2, $3. Mounts are shared, as
# systemd has them on a real machine: it makes credentials in a namespace of its own and lets them appear in its parent.
_BOOT: Final = """
set -eu
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$1"
mkdir "$1/root" "$1/up" "$1/work"
cd "$1/root"
mount -t overlay -o lowerdir=/,upperdir=$1/up,workdir=$1/work overlay .
cd "$1/root"
rm -rf etc/systemd/system etc/waitroom etc/redis/waitroom.* opt/waitroom units tree
mkdir -p etc/systemd/system units tree opt old
for target in TARGETS; do printf '[Unit]\\nDefaultDependencies=no\\n' >units/$target.target; done
cp /lib/systemd/system/redis-server.service units/
cp -a "$3" opt/waitroom
sed -i '1s|.*|#!/opt/waitroom/bin/python|' opt/waitroom/bin/waitroom
mount --bind -o ro "$2" tree
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
for node in null:3 zero:5 full:7 random:8 urandom:9; do mknod -m 666 dev/${node%:*} c 1 ${node#*:}; done
mknod -m 666 dev/tty c 5 0
ln -s /proc/self/fd dev/fd
mkdir dev/shm dev/pts
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
pivot_root . old
umount -l /old
mount --make-rshared /
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin SYSTEMD_UNIT_PATH=/etc/systemd/system:/units \\
  SYSTEMD --system --unit=multi-user.target --log-target=null
""".replace("TARGETS", " ".join(_TARGETS)).replace("SYSTEMD --system", f"{_SYSTEMD} --system")


@dataclass
class Machine:
    """A booted machine."""

    first: int

    def run(self, command: str, *, code: int | None = 0) -> str:
        """What a shell command says that is run there as root; fails where it does not end with that code."""
        done = subprocess.run(
            ["nsenter", "-t", str(self.first), "-a", "/bin/sh", "-c", command],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_PATIENCE_SECONDS,
        )
        assert code is None or done.returncode == code, f"{command}: {done.returncode}\n{done.stdout}"
        return done.stdout

    def until(self, command: str) -> str:
        """Repeat a command until it ends with 0; what it said then."""

        def good() -> str:
            said = self.run(f"{command}; echo $?", code=None)
            return said if f"\n{said}".endswith("\n0\n") else ""

        return until(good, command)

    def shown(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.run(f"systemctl show --property={name} --value {unit}").strip()


@contextmanager
def booted(folder: Path, tree: Path, program: Path) -> Iterator[Machine]:
    """A machine with the project at /tree and a program at /opt/waitroom; `missing` where there can be none."""
    wanted = ("unshare", "nsenter", "redis-server", "systemctl", str(_SYSTEMD))
    absent = [name for name in wanted if shutil.which(name) is None]
    if os.getuid() != 0 or absent:
        missing(f"what a machine of its own needs, root or {', '.join(absent) or 'nothing else'},")
    place = folder / "machine"
    place.mkdir()
    with _own_cgroup() as group:
        command: list[str | Path] = [
            *in_group(group),
            *("unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--fork", "--kill-child"),
            *("/bin/sh", "-c", _BOOT, "boot", place, tree, program),
        ]
        with Process("boot", command, folder=folder, told_by=signal.SIGKILL) as outer:
            try:
                first = until(lambda: _first(outer), "a machine")
            except (TimeoutError, Ended) as error:
                missing(f"the right to make a machine of its own, or a kernel that lets systemd boot in it ({error}),")
            yield Machine(first)


def _first(outer: Process) -> int:
    """The first process of a machine that has booted, or 0."""
    outer.check()
    children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
    with suppress(OSError):
        for pid in map(int, children.read_text().split()):
            # Before pivot_root the root is still this machine's: nothing may be run there.
            booting = Path(f"/proc/{pid}/comm").read_text().strip() == "systemd"
            if booting and Machine(pid).run("systemctl is-active multi-user.target", code=None).strip() == "active":
                return pid
    return 0


@contextmanager
def _own_cgroup() -> Iterator[Path]:
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    root = next((Path(mount[1]) for mount in mounts if mount[2] == "cgroup2"), None)
    group = root / f"waitroom-test-{os.getpid()}" if root else None
    try:
        if group is None:
            raise OSError("no cgroup2")
        group.mkdir()
    except OSError as error:
        missing(f"the right to make a control group ({error})")
    try:
        yield group
    finally:
        _remove(group)


def _remove(group: Path) -> None:
    for inner in (*sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True), group):
        # Those who were killed are not gone yet.
        until(lambda path=inner: path.rmdir() is None, f"the end of {inner}", despite=OSError)  # type: ignore[misc]
