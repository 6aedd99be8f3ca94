"""What is wrong with the middleware's arguments is said where it is made, by name and value."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.asgi.apps import bare_origin
from tests.web.sites import SIGNING_KEY
from waitroom.asgi import WaitroomGate
from waitroom.asgi.arguments import OF_SERVE, Settings
from waitroom.errors import SettingsError
from waitroom.settings.server import ServerSettings

SERVER = {"server": "http://127.0.0.1:8000"}
REDIS: dict[str, Any] = {"redis_url": "redis://127.0.0.1:1", "signing_keys": [SIGNING_KEY]}


def fault(**arguments: Any) -> str:
    """What the error says."""
    with pytest.raises(SettingsError) as caught:
        WaitroomGate(bare_origin().app, **{"room": "shop", **arguments})
    return str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            {"room": "Shop", **SERVER},
            "room: must be a room's name (1-64 of a-z, 0-9, _ and -, a letter or digit first), ",
        ),
        ({"room": None, **SERVER}, "got None"),
        ({}, "server, redis_url: exactly one of the two is needed, got none"),
        ({**SERVER, **REDIS}, "server, redis_url: exactly one of the two is needed, got both"),
        ({"server": "127.0.0.1:8000"}, "server: must be http://host:port or https://host:port, got '127.0.0.1:8000'"),
        ({"server": ""}, "server: must be"),
        ({"server": "http://"}, "server: must be"),
        ({"server": "http://a/gate"}, "server: must be"),
        ({"server": "http://a?x"}, "server: must be"),
        ({"server": "http://a:99999"}, "server: must be"),
        ({"server": "http://a:b"}, "server: must be"),
        ({"server": "ftp://a"}, "server: must be"),
        ({"server": 8000}, "server: must be http://host:port or https://host:port, got 8000"),
        ({**SERVER, "signing_keys": [SIGNING_KEY]}, "signing_keys: goes with redis_url, not with server"),
        ({**SERVER, "capacity": 5}, "capacity: goes with redis_url, not with server"),
        ({**SERVER, "exempt": "/healthz"}, "exempt: must be a list of paths, got '/healthz'"),
        ({**SERVER, "exempt": 5}, "exempt: must be a list of paths, got 5"),
        (
            {**SERVER, "exempt": ["healthz"]},
            "exempt: must be a path without %, ;, dot segments and double slashes, got ",
        ),
        ({**SERVER, "exempt": ["/a/../b"]}, "got '/a/../b'"),
        ({**SERVER, "exempt": [None]}, "got None"),
        ({**SERVER, "exempt_prefixes": ["/static//"]}, "exempt_prefixes: must be a path without"),
        ({**SERVER, "exempt_prefixes": ["/"]}, "exempt_prefixes: '/' would exempt every path"),
        ({**REDIS, "signing_keys": []}, "signing_keys: missing. Give every process of the room the same"),
        ({**REDIS, "signing_keys": ["k1:short"]}, "signing_keys: the secret of 'k1' is weak"),
        ({**REDIS, "redis_url": ""}, "redis_url: must be"),
        ({**REDIS, "redis_url": "http://a"}, "redis_url: "),
        ({**REDIS, "redis_url": 6379}, "redis_url: "),
        ({**REDIS, "redis_timeout_seconds": 99}, "redis_timeout_seconds: "),
        ({**REDIS, "redis_timeout_seconds": 99}, "got 99"),
        ({**REDIS, "rooms": {"shop": {"capacity": -1}}}, "rooms.shop.capacity: "),
        ({**REDIS, "capacity": 5}, "capacity: no such setting"),
        ({**REDIS, "path": "x"}, "path: no such setting"),
        ({**REDIS, "environment": "x"}, "environment: no such setting"),
        ({**REDIS, "port": 8000}, "port: a setting of `waitroom serve`, without effect here"),
    ],
)
def test_a_wrong_argument_is_named(arguments: dict[str, Any], said: str) -> None:
    """With its value, unless that may be a secret."""
    assert said in fault(**arguments)


def test_all_faults_are_told_together() -> None:
    """As everywhere in waitroom."""
    told = fault(redis_url="redis://a", signing_keys=[], tick_seconds=9.0, colour="red").splitlines()
    assert {line.split(":")[0] for line in told} == {"colour", "signing_keys", "tick_seconds"}


def test_the_settings_are_those_of_a_server() -> None:
    """All but those of `waitroom serve`; the declaration for type checkers leaves none out."""
    assert set(Settings.__annotations__) | {"redis_url"} == ServerSettings.model_fields.keys() - OF_SERVE


def test_files_of_the_address_are_looked_at(tmp_path: Path) -> None:
    """Not only when the first visitor comes."""
    told = fault(redis_url=f"rediss://a?ssl_ca_certs={tmp_path}/none", signing_keys=[SIGNING_KEY])
    assert "ssl_ca_certs" in told


def test_secrets_are_not_shown() -> None:
    """Neither keys nor passwords in addresses."""
    assert "hunter2" not in fault(server="http://me:hunter2@a")
    assert "hunter2" not in fault(redis_url="http://me:hunter2@a", signing_keys=["k1:hunter2"])


def test_a_room_is_made_where_none_is_given() -> None:
    """And all that is right is taken."""
    app = bare_origin().app
    WaitroomGate(app, room="shop", **REDIS)
    WaitroomGate(app, room="shop", **REDIS, rooms={"shop": {"capacity": 5}}, public_url="https://shop.example")
    for server in ("http://127.0.0.1:8000/", "https://waitroom.internal", "http://[::1]:8000"):
        WaitroomGate(app, room="shop", server=server, exempt=["/a"], exempt_prefixes={"/b/"})


def test_without_httpx_the_error_says_what_to_install() -> None:
    """And on a Redis nothing needs it."""
    program = (
        "import sys; sys.modules['httpx'] = None\n"
        "from waitroom.asgi import WaitroomGate\n"
        f"WaitroomGate(print, room='shop', redis_url='redis://a', signing_keys=[{SIGNING_KEY!r}])\n"
        "WaitroomGate(print, room='shop', server='http://a')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "ImportError: server=… needs httpx, which is not installed: pip install 'waitroom[asgi]'"
    )
