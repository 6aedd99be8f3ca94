"""`waitroom doctor` before nginx, whose files are broken in one way each."""

from __future__ import annotations

from pathlib import Path

import pytest

from rig.instance import Instance
from rig.nginx import added
from tests.checks.installations import Broken, changed, explained

pytestmark = pytest.mark.system

BROKEN = {
    "the gate is off for a suffix": Broken(
        "gate", "some ways", edits=(added("location ~ \\.css$ { auth_request off; proxy_pass http://shop_origin; }"),)
    ),
    "nginx tells no address": Broken(
        "visitor-address",
        "does not tell",
        files=changed("waitroom-proxy.conf", {"X-Forwarded-For $remote_addr": 'X-Forwarded-For ""'}),
    ),
    "nginx passes on what a client claims": Broken(
        "visitor-address",
        "what a client says",
        files=changed("waitroom-proxy.conf", {"X-Forwarded-For $remote_addr": "X-Forwarded-For $http_x_forwarded_for"}),
    ),
    "the gate gets no cookies": Broken(
        "cookies",
        "without the visitor's cookie",
        files=changed("waitroom-check.conf", {"Cookie $http_cookie": 'Cookie ""'}),
    ),
    "the port is lost": Broken(
        "origin",
        "without the port",
        files=changed("waitroom-origin.conf", {"Host $host$waitroom_port;": "Host $host;"}),
        ask=("--path", "/account"),
    ),
    "the port is lost in links": Broken(
        "origin",
        "without the port",
        files=changed("waitroom-origin.conf", {"Host $host$waitroom_port;": "Host $host;"}),
        ask=("--path", "/links"),
    ),
    "the host is lost": Broken(
        "origin",
        "another host",
        files=changed("waitroom-origin.conf", {"Host $host$waitroom_port;": "Host shop_origin;"}),
        ask=("--path", "/account"),
    ),
    "streams are cut between heartbeats": Broken(
        "streams",
        "shorter than",
        files=changed("waitroom-locations.conf", {"proxy_read_timeout 5m;": "proxy_read_timeout 1s;"}),
        listen="10",
    ),
    "streams by HTTP/1.0": Broken(
        "streams",
        "HTTP/1.0",
        files=changed("waitroom-proxy.conf", {"proxy_http_version 1.1;": "proxy_http_version 1.0;"}),
    ),
    "small buffers for headers": Broken(
        "headers", "takes less", edits=(added("client_header_buffer_size 1k; large_client_header_buffers 4 2k;"),)
    ),
    "a small body": Broken("body", "smaller bodies", ask=("--body-bytes", "2000000")),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_nginx_is_explained(name: str, tmp_path: Path, instance: Instance) -> None:
    """The finding is the one, with its cause and a remedy, nothing else is wrong, and every place is given back."""
    explained(BROKEN[name], tmp_path, instance, named_port="port" in name)
