"""The installer and the units on a machine that boots systemd: as they are shipped, with all that confines them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy import machine as machines
from tests.deploy import project
from tests.deploy.image import Image
from tests.deploy.machine import Machine

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

DROP_IN = "/etc/systemd/system/waitroom.service.d"

READY = """python3 -c 'import urllib.request; urllib.request.urlopen("http://127.0.0.1:8000/readyz")' 2>/dev/null"""
ENTER = """python3 -c 'import urllib.request as u
print(u.urlopen(u.Request("http://127.0.0.1:8000/v1/rooms/shop/enter", method="POST")).status)'"""


@pytest.fixture(scope="module")
def machine(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine on which the installer has run and both services have been started."""
    folder = tmp_path_factory.mktemp("machine")
    with machines.booted(folder, project.ROOT, image.at("/opt/waitroom")) as booted:
        said = booted.run("/tree/deploy/systemd/install.sh --no-program")
        assert "sound   settings" in said
        assert "sound   units" in said
        # For the tests' sake: all else is as shipped.
        booted.run(
            f"mkdir {DROP_IN} && printf '[Service]\\nEnvironment=WAITROOM_DRAIN_SECONDS=1\\n' >{DROP_IN}/drain.conf"
        )
        booted.run("systemctl daemon-reload && systemctl start redis-server waitroom")
        booted.until(READY)
        yield booted


def main_process(machine: Machine, unit: str) -> dict[str, str]:
    """What the kernel says of a unit's process."""
    status = machine.run(f"cat /proc/{machine.shown(unit, 'MainPID')}/status")
    return {name: value.strip() for name, _, value in (line.partition(":") for line in status.splitlines())}


def test_it_serves_confined(machine: Machine) -> None:
    """Ready, admitting, measuring itself; neither root nor able to become it, and system calls are filtered."""
    assert machine.run(ENTER) == "200\n"
    about = main_process(machine, "waitroom")
    assert "0" not in about["Uid"].split()
    assert int(about["CapEff"], 16) == int(about["CapBnd"], 16) == 0
    assert about["NoNewPrivs"] == "1"
    assert about["Seccomp"] == "2"
    metrics = machine.run("""python3 -c 'import urllib.request as u
print(u.urlopen("http://127.0.0.1:8000/metrics").read().decode())'""")
    assert "\nwaitroom_leader 1.0" in metrics
    assert "\nprocess_resident_memory_bytes " in metrics


def test_redis_knows_nobody_else(machine: Machine) -> None:
    """Without the password nothing is told; with it `waitroom check` has nothing to object to."""
    assert "NOAUTH" in machine.run("redis-cli ping", code=None)
    said = machine.run(
        "WAITROOM_REDIS_PASSWORD_FILE=/etc/waitroom/redis-password "
        "/opt/waitroom/bin/waitroom check --config /etc/waitroom/waitroom.toml"
    )
    assert "fail" not in said
    assert "append-only file" in said
    arguments = machine.run("ps -eo args")
    assert machine.run("cat /etc/waitroom/redis-password").strip() not in arguments


@pytest.mark.parametrize("unit", ["waitroom", "redis-server"])
def test_what_is_killed_comes_back(machine: Machine, unit: str) -> None:
    """systemd starts it again, and the instance is ready as soon as both are there."""
    machine.run(f"kill -KILL {machine.shown(unit, 'MainPID')}")
    machine.until(f"test $(systemctl show --property=NRestarts --value {unit}) -ge 1")
    machine.until(READY)


def test_stopping_drains(machine: Machine) -> None:
    """It ends by itself, with 0, not before it has drained."""
    began = machine.run("systemctl is-active waitroom; date +%s.%N").split()[1]
    machine.run("systemctl stop waitroom")
    assert float(machine.run("date +%s.%N")) - float(began) >= 1.0
    assert machine.shown("waitroom", "Result") == "success"
    assert machine.shown("waitroom", "ExecMainStatus") == "0"


def test_several_run_by_their_ports(machine: Machine) -> None:
    """Instances of the template, each with a folder of its own."""
    machine.run("systemctl stop waitroom && systemctl start waitroom@8000 waitroom@8001")
    machine.until(READY)
    machine.until(READY.replace("8000", "8001"))
    assert machine.run("ls /var/lib/private").split()[-2:] == ["waitroom-8000", "waitroom-8001"]


def test_a_wrong_setting_stops_it_for_good(machine: Machine, tmp_path: Path) -> None:
    """It is not started over and over; the installer says what is wrong."""
    machine.run("sed -i 's/capacity = 500/capacity = -1/' /etc/waitroom/waitroom.toml")
    machine.run("systemctl start waitroom@8002")
    machine.until("systemctl is-failed --quiet waitroom@8002")
    assert machine.shown("waitroom@8002", "NRestarts") == "0"
    assert "rooms.shop.capacity" in machine.run("/tree/deploy/systemd/install.sh --no-program", code=1)
    machine.run(f"rm -r {DROP_IN}")
    said = machine.run("/tree/deploy/systemd/install.sh --rollback")
    assert "undone" in said
    assert "waitroom" not in machine.run("ls /etc /etc/redis /etc/systemd/system")
