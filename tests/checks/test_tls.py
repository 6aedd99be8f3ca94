"""What is found of TLS on a real server that speaks it."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig.machine import missing
from rig.waiting import until
from tests.checks.examining import NAMES, QUOTED_SECRET, answering, found, verdicts
from waitroom.checks.finding import unfit
from waitroom.demo.processes import free_port


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def tls_port(tmp_path: Path) -> Iterator[int]:
    """A redis-server that speaks TLS with a certificate of its own making, tmp_path/ca.pem."""
    for program in ("redis-server", "openssl"):
        if shutil.which(program) is None:
            missing(program)
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    names = ("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
    files = ("-keyout", "key.pem", "-out", "ca.pem")
    subprocess.run([*command.split(), *names, *files], cwd=tmp_path, check=True, capture_output=True)
    port = free_port()
    options = f"--port 0 --bind 127.0.0.1 --tls-port {port} --tls-cert-file ca.pem --tls-key-file key.pem"
    server = subprocess.Popen(
        ["redis-server", *options.split(), "--tls-auth-clients", "no", "--appendonly", "yes"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
    )
    try:
        until(lambda: is_open(port) or server.poll() is not None, "redis-server's port")
        assert server.poll() is None, "redis-server does not speak TLS"
        yield port
    finally:
        server.kill()
        server.wait()


async def test_tls(tls_port: int, tmp_path: Path) -> None:
    """A verified connection tells its protocol and cipher."""
    findings = await found(f"rediss://localhost:{tls_port}/0?ssl_ca_certs={tmp_path}/ca.pem")
    assert verdicts(findings) == {}
    assert sorted(findings) == sorted([*NAMES, "tls"])
    assert findings["tls"].detail.startswith("TLSv1.3, TLS_")


async def test_tls_with_an_unknown_authority(tls_port: int) -> None:
    findings = await found(f"rediss://:{QUOTED_SECRET}@localhost:{tls_port}/0")
    assert verdicts(findings) == {"tls": "fail"}
    assert list(findings) == ["tls"]
    assert "certificate" in findings["tls"].detail.lower()
    assert QUOTED_SECRET not in repr(findings)


async def test_tls_for_another_name(tls_port: int, tmp_path: Path) -> None:
    findings = await found(f"rediss://127.0.0.2:{tls_port}/0?ssl_ca_certs={tmp_path}/ca.pem")
    assert unfit(list(findings.values()))


async def test_tls_unverified(tls_port: int) -> None:
    """Encryption without a verified certificate is pointed out."""
    findings = await found(f"rediss://localhost:{tls_port}/0?ssl_cert_reqs=none&ssl_check_hostname=false")
    assert verdicts(findings) == {"tls": "warn"}


async def test_tls_to_a_server_without_it() -> None:
    async with answering(b"-ERR Protocol error\r\n") as port:
        findings = await found(f"rediss://127.0.0.1:{port}/0")
    assert verdicts(findings) == {"tls": "fail"}
