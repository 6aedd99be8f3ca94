"""`waitroom doctor` and what lies outside nginx's files: settings, addresses, clocks, answers of the origin."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from rig import servers
from rig.instance import ADMIN_KEY, Instance
from rig.machine import faketime
from rig.process import environment
from tests.checks.installations import KNOWS_ITS_FRONT, NAME, Found, fronted, installed

pytestmark = pytest.mark.system


def test_cookies_for_https_under_http(tmp_path: Path, secure: Instance) -> None:
    """The instances think of https, and visitors come by http."""
    with installed(tmp_path, instance=secure) as made:
        found = made.ask()
    assert found.wrong == {"cookies", "public-url"}
    assert "comes by http" in found["cookies"]["cause"]
    assert f'public_url = "http://{NAME}"' in found["public-url"]["remedy"]


def test_cookies_for_https_under_http_without_the_key(tmp_path: Path, secure: Instance) -> None:
    """Both show from outside."""
    with installed(tmp_path, instance=secure, room="hold") as made:
        found = made.ask(key=False)
    assert found.wrong == {"cookies", "public-url"}


def test_no_public_url_under_https(tmp_path: Path, instance: Instance) -> None:
    """Cookies that another host could plant; seen with the key and without."""
    with installed(tmp_path, tls=True, instance=instance) as made:
        for key in (True, False):
            found = made.ask(key=key)
            assert found.wrong == {"public-url"}, found.done.stdout
            assert "under http" in found["public-url"]["cause"]


def test_public_url_of_another_site(tmp_path: Path) -> None:
    """Only the instances can tell."""
    with installed(tmp_path, variables={"WAITROOM_PUBLIC_URL": "http://www.example.org"}) as made:
        found = made.ask()
    assert found.wrong == {"public-url"}, found.done.stdout
    assert "another address" in found["public-url"]["cause"]


@pytest.mark.parametrize(
    ("proxies", "limits", "cause"),
    [
        ("10.0.0.0/8", {}, "not among the trusted_proxies"),
        ("", {"places_per_address": 40}, "trusted_proxies is not set"),
    ],
)
def test_instances_that_do_not_know_their_proxy(
    tmp_path: Path, proxies: str, limits: dict[str, int], cause: str
) -> None:
    """They take the proxy for the visitor, or rest their limits."""
    rooms = json.dumps({"shop": {"capacity": 50, **limits}})
    variables = {"WAITROOM_TRUSTED_PROXIES": proxies, "WAITROOM_ROOMS": rooms}
    with installed(tmp_path, variables=variables) as made:
        found = made.ask()
    assert found.wrong == {"visitor-address"}, found.done.stdout
    assert cause in found["visitor-address"]["cause"]
    assert "127.0.0.1" in found["visitor-address"]["remedy"]


@pytest.mark.parametrize("path", ["/secure", "/account", "/links"])
def test_the_scheme_is_lost(tmp_path: Path, secure: Instance, path: str) -> None:
    """TLS ends in front of nginx, which tells the origin http: it redirects for ever, or leads to http."""
    with installed(tmp_path, KNOWS_ITS_FRONT, instance=secure) as behind, fronted(behind, tls=True) as made:
        found = made.ask("--path", path, key=False)
        assert found.wrong == {"origin"}, found.done.stdout
        assert "another scheme" in found["origin"]["cause"]
        assert made.ask(key=True).wrong == {"origin"}


def test_the_headers_of_an_answer_are_too_large(tmp_path: Path, instance: Instance) -> None:
    """The origin's page has 9 KB of headers: nginx gives 502, the origin itself 200."""
    with installed(tmp_path, instance=instance) as made:
        found = made.ask("--direct", f"http://127.0.0.1:{made.origin.port}/", url=f"http://{NAME}/large")
    assert found["headers"]["verdict"] == "fail", found.done.stdout
    assert "proxy_buffer_size" in found["headers"]["remedy"]


@pytest.mark.parametrize("who", ["instance", "nginx"])
def test_clocks_apart(tmp_path: Path, instance: Instance, who: str) -> None:
    """The machine of an instance or of nginx is five minutes ahead of Redis."""
    wrong = ("env", f"LD_PRELOAD={faketime()}", "FAKETIME=+300s")
    variables = {"FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    with ExitStack() as stack:
        if who == "nginx":
            made = stack.enter_context(installed(tmp_path, instance=instance, nginx_prefix=wrong))
        else:
            # Redis keeps the right time.
            url = stack.enter_context(servers.running())
            made = stack.enter_context(
                installed(tmp_path, prefix=wrong, variables={**variables, "WAITROOM_REDIS_URL": url})
            )
        found = made.ask()
    assert found.wrong == {"clocks"}, found.done.stdout
    assert re.search(r"(29\d|30\d) s ahead of Redis", found["clocks"]["detail"]), found["clocks"]


def test_the_doctors_own_clock(tmp_path: Path, instance: Instance) -> None:
    """This machine is wrong: said, and nothing else is taken for it."""
    with installed(tmp_path, instance=instance) as made:
        command = [sys.executable, "-m", "waitroom", "doctor", made.url, "--json"]
        more = ["--connect", f"127.0.0.1:{made.port}", "--listen-seconds", "1"]
        variables = environment(WAITROOM_ADMIN_KEY=ADMIN_KEY, LD_PRELOAD=faketime(), FAKETIME="-90s")
        done = subprocess.run(
            [*command, *more], capture_output=True, text=True, env=variables, timeout=120, check=False
        )
    found = Found(done)
    assert found.wrong == {"clocks"}, done.stdout + done.stderr
    assert re.search(r"this machine is (8\d|9\d) s behind Redis", found["clocks"]["detail"]), found["clocks"]
