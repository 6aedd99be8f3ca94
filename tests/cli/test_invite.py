"""`waitroom invite`."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.cli.command import run
from waitroom.proofs import keyring
from waitroom.proofs.tokens import EnqueueOffice, Grant, TokenRefused, customer


def test_an_invitation_is_a_good_token(tmp_path: Path) -> None:
    """The address that is printed has a token that the instances take, for that customer and so long."""
    entry = "shop:an-enqueue-key-made-up-for-the-tests-0123456789"
    variables = {"WAITROOM_ENQUEUE_KEYS": entry, "WAITROOM_PUBLIC_URL": "https://shop.example"}
    done = run("invite", "sale", "customer-17", "--seconds", "60", "--priority", folder=tmp_path, **variables)
    assert done.returncode == 0
    address, _, token = done.stdout.strip().partition("?enqueue=")
    assert address == "https://shop.example/wait/sale"
    office = EnqueueOffice(keyring.parse([entry]))
    assert office.verify("sale", token, now=time.time()) == Grant(customer("sale", "customer-17"), True)
    with pytest.raises(TokenRefused, match="expired"):
        office.verify("sale", token, now=time.time() + 90)


@pytest.mark.parametrize(
    ("arguments", "variables", "said"),
    [
        (("sale", "17"), {}, "enqueue_keys: missing"),
        (("Sale", "17"), {"WAITROOM_ENQUEUE_KEYS": "s:an-enqueue-key-made-up-for-the-tests-0123456789"}, "room name"),
        (("sale", ""), {"WAITROOM_ENQUEUE_KEYS": "s:an-enqueue-key-made-up-for-the-tests-0123456789"}, "customer: "),
    ],
)
def test_an_invitation_that_cannot_be(
    tmp_path: Path, arguments: tuple[str, ...], variables: dict[str, str], said: str
) -> None:
    """One sentence, exit code 2."""
    done = run("invite", *arguments, folder=tmp_path, **variables)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
