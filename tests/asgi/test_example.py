"""The examples of the package's own text and of the README are run as they stand, save for the addresses in them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import waitroom.asgi
from rig.waiting import until
from tests.asgi.running import redis_url, visiting
from tests.web.sites import SIGNING_KEY, Site, running

pytestmark = pytest.mark.usefixtures("unhurried")

README = (Path(__file__).parent.parent.parent / "README.md").read_text(encoding="utf-8")


def examples() -> list[str]:
    """Every block of Python that uses the middleware."""
    blocks = re.findall(r"```python\n(.*?)```", f"{waitroom.asgi.__doc__}\n{README}", re.DOTALL)
    return [block for block in blocks if "WaitroomGate(" in block or "WaitroomGate," in block]


def test_there_is_one_of_each_kind() -> None:
    """Else the next test would prove nothing."""
    text = "".join(examples())
    assert "server=" in text
    assert "redis_url=" in text


def test_the_commands_run_what_was_written() -> None:
    """In both texts the file's name is the module of the command, and the path that needs no pass is an address."""
    for text in (waitroom.asgi.__doc__ or "", README):
        assert "a file `shop.py`" in text
        assert "uvicorn shop:app --port 8001" in text
    fastapi = [code for code in examples() if "FastAPI" in code]
    assert len(fastapi) == 2
    assert all("\napp = " in code and '@app.get("/healthz")' in code for code in fastapi)


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
        until(lambda: visitor.get("/").status_code == 403, what="the closing")
        for path in re.findall(r"exempt=\[\"([^\"]+)\"\]", code):
            assert visitor.get(path).status_code == 200
    site.admin("DELETE", "/shop")
