"""`waitroom doctor` before another proxy: a cache, a load balancer, an end of TLS, broken in one way each."""

from __future__ import annotations

from pathlib import Path

import pytest

from rig.instance import Instance
from tests.checks.installations import Broken, explained

pytestmark = pytest.mark.system

_KEPT = "proxy_buffering on; proxy_buffer_size 16k; proxy_buffers 8 16k; proxy_busy_buffers_size 32k; proxy_cache kept;"
_CACHE = (
    f"{_KEPT} proxy_cache_valid any 1m; proxy_ignore_headers Cache-Control Set-Cookie Expires Vary X-Accel-Expires; "
)

BROKEN = {
    "cookies are taken off the site's answers only": Broken(
        "cookies",
        "takes Set-Cookie off",
        server="location = / { proxy_pass http://127.0.0.1:$behind; proxy_http_version 1.1; "
        "proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $remote_addr; "
        "proxy_hide_header Set-Cookie; }",
        room="brief",
    ),
    "a cache keeps everything": Broken("cache", "cache in front", front=_CACHE),
    "a cache keeps everything by path": Broken("cache", "cache in front", front=_CACHE + "proxy_cache_key $uri;"),
    "a cache keeps pages, without cookies": Broken(
        "cache",
        "cache in front",
        server="location /wait/ { proxy_pass http://127.0.0.1:$behind; proxy_hide_header Set-Cookie; " + _CACHE + "}",
        left=1,
        room="hold",
    ),
    "a cache keeps what the origin calls public": Broken(
        "cache",
        "cache in front",
        front=_KEPT,
    ),
    "a cache keeps the public document": Broken(
        "cache",
        "cache in front",
        server="location ~ ^/v1/rooms/[a-z]+$ { proxy_pass http://127.0.0.1:$behind; " + _CACHE + "}",
    ),
    "a load balancer that nginx does not know": Broken("visitor-address", "stands in front", front=""),
    "cookies for another domain": Broken(
        "cookies", "a domain that is not the site's", front="proxy_cookie_path / '/; Domain=cdn.example';"
    ),
    "cookies for a part": Broken("cookies", "part of the site", front="proxy_cookie_path / /wait/;"),
    "cookies of another same-site": Broken("cookies", "SameSite=None", front="proxy_cookie_flags ~ samesite=none;"),
    "cookies are taken off the answer": Broken(
        "cookies", "takes Set-Cookie off", front="proxy_hide_header Set-Cookie;", room="brief"
    ),
    "cookies are taken off the request": Broken(
        "cookies", "does not get it", front='proxy_set_header Cookie "";', room="hold"
    ),
    "streams are cut in front": Broken(
        "streams", "shorter than", front="proxy_read_timeout 1s;", room="hold", listen="10"
    ),
    "streams are collected": Broken(
        "streams",
        "collects",
        front="proxy_buffering on; proxy_ignore_headers X-Accel-Buffering; "
        "gzip on; gzip_proxied any; gzip_types text/event-stream;",
        listen="8",
    ),
    "small buffers in front": Broken(
        "headers", "takes less", server="client_header_buffer_size 1k; large_client_header_buffers 4 4k;", room="hold"
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_stands_in_front_is_explained(name: str, tmp_path: Path, instance: Instance) -> None:
    """The finding is the one, with its cause and a remedy, nothing else is wrong, and every place is given back."""
    explained(BROKEN[name], tmp_path, instance, named_port="port" in name)
