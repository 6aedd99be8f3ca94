"""The examples of the package's own text are run as they stand, save for the addresses in them."""

from __future__ import annotations

import re
from typing import Any

import pytest

import waitroom.asgi
from rig.waiting import until
from tests.asgi.running import redis_url, visiting
from tests.web.sites import SIGNING_KEY, Site, running

pytestmark = pytest.mark.usefixtures("unhurried")


def examples() -> list[str]:
    """Every block of Python that uses the middleware."""
    blocks = re.findall(r"```python\n(.*?)```", waitroom.asgi.__doc__ or "", re.DOTALL)
    return [block for block in blocks if "WaitroomGate(" in block or "WaitroomGate," in block]


def test_there_is_one_of_each_kind() -> None:
    """Else the next test would prove nothing."""
    text = "".join(examples())
    assert "server=" in text
    assert "redis_url=" in text


def test_the_command_runs_what_was_written() -> None:
    """The file's name is the module of the command, and the path that needs no pass is an address."""
    assert "a file `shop.py`" in (waitroom.asgi.__doc__ or "")
    assert "uvicorn shop:app --port 8001" in (waitroom.asgi.__doc__ or "")
    (code,) = (code for code in examples() if "FastAPI" in code)
    assert "\napp = " in code
    assert '@app.get("/healthz")' in code


@pytest.mark.parametrize("code", examples())
def test_an_example_gates_its_application(site: Site, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Who comes first is let in; when the room is closed, nobody else is."""
    monkeypatch.setenv("WAITROOM_SIGNING_KEYS", SIGNING_KEY)
    site.make_room("shop", capacity=500)
    code = re.sub(r"\"http://[^\"]+\"", repr(site.url), code)
    code = re.sub(r"\"redis://[^\"]+\"", repr(redis_url(site)), code)
    namespace: dict[str, Any] = {}
    exec(compile(code, "example", "exec"), namespace)  # noqa: S102 - the project's own text
    with running(namespace.get("app") or namespace["application"]) as url, visiting(url) as visitor:
        assert "the shop" in visitor.get("/").text
        assert "waitroom_pass_shop" in visitor.cookies
        site.admin("PATCH", "/shop", json={"state": "closed"})
        visitor.cookies.clear()
        until(lambda: visitor.post("/").status_code == 403, what="the closing")
        for path in re.findall(r"exempt=\[\"([^\"]+)\"\]", code):
            assert visitor.get(path).status_code == 200
    site.admin("DELETE", "/shop")
