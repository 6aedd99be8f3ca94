"""What the code itself must keep to: secrets are compared in constant time, and nobody is called on a client's word."""

from __future__ import annotations

import ast
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

from tests.test_architecture import MODULES, imported, relative
from waitroom.proofs import tickets
from waitroom.web.admin import key

#: What may open a connection to anywhere but Redis, and where to: an address of the operator's own, always.
CALLERS: Final = {
    "client/": "the waiting room that a program names",
    "asgi/": "the server that the middleware is given",
    "demo/": "the demo's own servers",
    "checks/site/": "the addresses on the command line",
}

#: Modules with which one calls others.
_CALLING: Final = {"httpx", "http.client", "urllib.request", "requests", "aiohttp", "smtplib", "ftplib"}

#: Words that name what only its holder may know.
_SECRET_WORDS: Final = {"mac", "key", "_key", "digest", "signature", "secret"}


def unsafe_comparisons(source: str) -> list[str]:
    """Comparisons by == or != of something that is named like a secret."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare) and any(isinstance(one, ast.Eq | ast.NotEq) for one in node.ops):
            names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
            names |= {part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute)}
            if names & _SECRET_WORDS:
                found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize("module", [tickets, key])
def test_secrets_are_compared_in_constant_time(module: ModuleType) -> None:
    """By compare_digest, and never by == (T30). Passes are compared by PyJWT, which does the same."""
    source = Path(str(module.__file__)).read_text()
    assert "hmac.compare_digest(" in source
    assert unsafe_comparisons(source) == []
    assert unsafe_comparisons(source.replace("hmac.compare_digest(", "operator.eq(")) == []
    assert unsafe_comparisons("if mac == self._mac(x): pass") != []
    assert unsafe_comparisons("good = sha256(key).digest() != self._key") != []


def test_nobody_is_called_on_a_clients_word() -> None:
    """No server module can call another address: there are no webhooks, and nothing to forge one with (T40)."""
    callers = [relative(path) for path in MODULES if imported(path) & _CALLING]
    assert callers
    assert [path for path in callers if not path.startswith(tuple(CALLERS))] == []
    assert [prefix for prefix in CALLERS if not any(path.startswith(prefix) for path in callers)] == []
