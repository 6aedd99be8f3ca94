"""Worlds around a real nginx with the shipped configuration: stubs in the place of the instances and the origin."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from rig import machine
from rig.edits import Edit
from rig.nginx import Nginx, command
from rig.origin import Answer, Seen, Stub, answering, shop
from rig.ports import free_port
from waitroom.web.visits import FORM_HEADER, form_of_no

#: What a browser accepts when it goes to a page.
PAGE: Final = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@dataclass
class World:
    """nginx on `port`, in front of two stub instances and a stub origin; `gate` is what the gate answers."""

    port: int = 0
    gate: Answer = field(default_factory=lambda: Answer(401))
    instances: tuple[Stub, ...] = ()
    origin: Stub = field(default_factory=lambda: Stub(0, lambda _: Answer(200)))

    def asked(self) -> list[Seen]:
        """What the instances were asked, the gate's checks included."""
        return [request for instance in self.instances for request in instance.seen]

    def answer(self, request: Seen) -> Answer:
        """What an instance answers."""
        if request.path.startswith("/gate/"):
            return self.gate if self.gate.status == 204 else _in_form(self.gate, request)
        return Answer(200, {"Content-Type": "application/json", "X-From": "waitroom"}, b"{}")


def _in_form(no: Answer, request: Seen) -> Answer:
    """The gate names the form of a "no"."""
    told = [(name.encode(), value.encode("latin-1")) for name, value in request.headers.items()]
    form = form_of_no({"type": "http", "method": request.method, "headers": told})
    return replace(no, headers={**no.headers, FORM_HEADER.decode(): form})


class Builder:
    """Starts nginx with what it needs around it."""

    def __init__(self, program: Path, folder: Path, stack: ExitStack) -> None:
        self.program = program
        self.folder = folder
        self._stack = stack

    def __call__(self, *edits: Edit, alive: Sequence[bool] = (True, True), files: Mapping[str, str] = {}) -> World:
        """Build a world: the example as edited, with those instances alive and those files beside it."""
        world = World()
        world.instances = tuple(self._stack.enter_context(answering(world.answer)) for there in alive if there)
        world.origin = self._stack.enter_context(answering(shop))
        living = iter(instance.port for instance in world.instances)
        nginx = Nginx(
            self.folder,
            *edits,
            instances=[next(living) if there else free_port() for there in alive],
            origin=world.origin.port,
            files=files,
            program=self.program,
        )
        world.port = self._stack.enter_context(nginx).port
        return world


def accepted(main: Path, program: Path | None = None) -> str:
    """What nginx says of a configuration that it accepts; fails where it does not."""
    done = subprocess.run([*command(main, program), "-t"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def gixy(main: Path) -> str:
    """What gixy finds, "" if nothing. No check is left out."""
    done = subprocess.run(
        [machine.program("gixy", package="gixy-next of PyPI"), "-f", "text", main.name],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=main.parent,
        env=os.environ | {"HOME": str(main.parent)},
    )
    assert done.returncode in (0, 1), done.stderr
    return "" if done.returncode == 0 else done.stdout
