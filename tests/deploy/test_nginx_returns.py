"""The way back through nginx: what a browser asks for is what the waiting page reads in nginx's redirect."""

from __future__ import annotations

from rig.origin import ask
from tests.deploy.worlds import PAGE, World
from tests.test_returns import CORPUS
from waitroom.returns import return_address
from waitroom.web.page.address import asked_return

#: What a browser sends of an address, where nginx does not take it for waitroom's own.
SENT = sorted(
    {
        address.partition("#")[0]
        for kind in CORPUS.values()
        for address in kind
        if not address.startswith(("/v1/", "/wait/"))
    }
)


def test_nginx_and_the_page_agree_on_every_good_address(world: World) -> None:
    """Also with a parameter that others append to the page's address, where a mark tells what was asked for."""
    read, cut = {}, {}
    for address in SENT:
        answer = ask(world.port, address, accept=PAGE)
        page, _, query = answer.headers["location"].partition("?") if answer.status == 303 else ("", "", "")
        assert page == "/wait/shop", (address, answer.status)
        read[address] = return_address(asked_return(query.encode()))
        if "&as_sent" in query:
            cut[address] = return_address(asked_return(f"{query}&fbclid=x".encode()))
    assert {address: found for address, found in read.items() if found != address} == {}
    assert {address: found for address, found in cut.items() if found != address} == {}
    assert {"/H&M/dresses", "/wiki/Where%3F", "/event/what%3Fa%3D1"} <= set(cut)
