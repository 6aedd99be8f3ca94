"""The shipped ACL with passwords of the tests' own, and TLS certificates made for the occasion."""

from __future__ import annotations

import re
import subprocess
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from rig.machine import program

ACL: Final = Path(__file__).parent.parent / "deploy" / "redis" / "users.acl"

#: Passwords of the users in the ACL file; none of them may ever be shown.
PASSWORDS: Final = {
    "waitroom": "canary-of-waitroom/9 @",
    "replica": "canary-of-replica",
    "sentinel": "canary-of-sentinel",
    "admin": "canary-of-admin",
}

#: How the tests themselves talk to such a server.
ADMIN: Final[dict[str, Any]] = {"username": "admin", "password": PASSWORDS["admin"]}


def users_file(folder: Path) -> Path:
    """The shipped ACL file with these passwords, and a user for the tests who may do everything."""

    def with_hash(line: str) -> str:
        name = line.split()[1]
        return re.sub(r" #0{64} ", f" #{_hash(PASSWORDS[name])} ", line) if name in PASSWORDS else line

    lines = [with_hash(line) for line in ACL.read_text(encoding="utf-8").splitlines()]
    lines.append(f"user admin on #{_hash(PASSWORDS['admin'])} ~* &* +@all")
    path = folder / "users.acl"
    path.write_text("\n".join(lines) + "\n")
    return path


def settings(users: Path) -> tuple[str, ...]:
    """What a server is started with so that only these users get in, replicas among them."""
    return ("--aclfile", str(users), "--masteruser", "replica", "--masterauth", PASSWORDS["replica"])


def leaks(folder: Path, *pids: int) -> list[Path]:
    """Which of the logs below the folder, and of these processes' command lines, show a password or a piece of one.

    Raises ValueError where no log says anything.
    """
    logs = [path for path in folder.rglob("*.log") if path.stat().st_size]
    if not logs:
        raise ValueError(f"no log below {folder} says anything")
    lines = [Path(f"/proc/{pid}/cmdline") for pid in pids]
    return [path for path in (*logs, *lines) if "canary" in path.read_text(errors="replace")]


def _hash(password: str) -> str:
    return sha256(password.encode()).hexdigest()


class Authority:
    """A certificate authority of its own; `ca` is its certificate."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder = folder
        self._name = name
        self.ca = folder / f"{name}.pem"
        usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
        subject = ("-subj", f"/CN=tests {name}", "-days", "2")
        self._run("req", "-x509", *subject, *usage, *self._key(name), "-out", str(self.ca))

    def certificate(self, name: str, *names: str) -> tuple[Path, Path]:
        """Certificate and key for these subject names, such as DNS:localhost."""
        request, made = self._folder / f"{name}.csr", self._folder / f"{name}.pem"
        key = self._folder / f"{name}.key"
        extensions = self._folder / f"{name}.ext"
        # Python 3.13 takes no certificate that does not name its authority's key.
        lines = ["authorityKeyIdentifier=keyid", *([f"subjectAltName={','.join(names)}"] if names else [])]
        extensions.write_text("\n".join(lines) + "\n")
        self._run("req", "-new", "-subj", f"/CN={name}", *self._key(name), "-out", str(request))
        signing = ("-CA", str(self.ca), "-CAkey", str(self._folder / f"{self._name}.key"), "-CAcreateserial")
        self._run(
            "x509", "-req", "-in", str(request), *signing, "-days", "2", "-extfile", str(extensions), "-out", str(made)
        )
        return made, key

    def _key(self, name: str) -> tuple[str, ...]:
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        return (*curve, "-keyout", str(self._folder / f"{name}.key"))

    def _run(self, *arguments: str) -> None:
        subprocess.run([program("openssl"), *arguments], check=True, capture_output=True)


def tls_settings(authority: Authority, folder: Path, *names: str) -> tuple[str, ...]:
    """What a server is started with to speak TLS, and to demand certificates of its clients; its port comes with it."""
    made, key = authority.certificate(f"server-{len(list(folder.glob('server-*.pem')))}", *names)
    files = ("--tls-cert-file", str(made), "--tls-key-file", str(key), "--tls-ca-cert-file", str(authority.ca))
    return (*files, "--tls-replication", "yes", "--tls-cluster", "yes")
