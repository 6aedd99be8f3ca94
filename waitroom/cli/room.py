"""`waitroom room`: show and change rooms, live."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from waitroom.cli.printing import print_room, print_rooms, warn
from waitroom.cli.target import Name, Target, on_target
from waitroom.errors import RoomBroken, RoomUnknown, SettingsError, WaitroomError
from waitroom.rooms.registry import Rooms
from waitroom.rooms.room import READING_SECONDS, Room
from waitroom.settings.room import PER_SOURCE, parse_room, room_value

app = typer.Typer(help="Show and change rooms, live.", no_args_is_help=True)


AsJson = Annotated[bool, typer.Option("--json", help="print a document for programs instead of a table")]
Message = Annotated[str | None, typer.Option(help="a line that waiting visitors see")]


@app.command("list")
@on_target
def list_rooms(as_json: AsJson = False, *, target: Target) -> None:
    """Every room with its state and numbers. Exit code 1 if a room cannot be read."""

    async def listed(rooms: Rooms) -> tuple[list[Room], dict[str, str]]:
        await rooms.refresh()
        return list(rooms), rooms.faults

    found, faults = target.with_rooms(listed)
    print_rooms(found, as_json=as_json)
    for name, fault in faults.items():
        warn(f"room {name} cannot be served: {fault}")
    raise typer.Exit(1 if faults else 0)


@app.command("show")
@on_target
def show(name: Name, as_json: AsJson = False, *, target: Target) -> None:
    """One room with its settings and counts."""
    print_room(target.with_rooms(lambda rooms: rooms.adopt(name)), as_json=as_json)


@app.command("set")
@on_target
def set_settings(
    name: Name,
    changes: Annotated[list[str], typer.Argument(help="setting=value …, for instance capacity=50")],
    as_json: AsJson = False,
    *,
    target: Target,
) -> None:
    """Change settings of a room, or create it with them."""
    parsed = _parsed(changes)
    _warn_of_rest(target, parsed)
    _change(target, name, parsed, create=True, as_json=as_json)


@app.command("pause")
@on_target
def pause(name: Name, message: Message = None, as_json: AsJson = False, *, target: Target) -> None:
    """Admit no visitor for now. Places are kept."""
    _change(target, name, _state("paused", message), as_json=as_json)


@app.command("resume")
@on_target
def resume(name: Name, message: Message = None, as_json: AsJson = False, *, target: Target) -> None:
    """Open the room again."""
    _change(target, name, _state("open", message), as_json=as_json)


@app.command("close")
@on_target
def close(name: Name, message: Message = None, as_json: AsJson = False, *, target: Target) -> None:
    """Let no visitor enter any more."""
    _change(target, name, _state("closed", message), as_json=as_json)


@app.command("delete")
@on_target
def delete(
    name: Name, yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False, *, target: Target
) -> None:
    """Remove a room with all its visitors, also a room that cannot be read."""
    if not yes:
        lost = target.with_rooms(lambda rooms: _peopled(rooms, name))
        try:
            typer.confirm(f"{lost}. Delete it?", abort=True)
        except typer.Abort:
            raise WaitroomError("nothing was deleted: --yes deletes without asking") from None
    if not target.with_rooms(lambda rooms: rooms.delete(name)):
        raise RoomUnknown(f"no room {name!r}")


async def _peopled(rooms: Rooms, name: str) -> str:
    """What would be lost with a room. Raises RoomUnknown."""
    try:
        reading = (await rooms.adopt(name)).reading
    except (RoomBroken, RoomUnknown):
        # It may be listed and its data be gone.
        await rooms.refresh()
        if name not in rooms.faults:
            raise
        return f"room {name} cannot be read ({rooms.faults[name]})"
    return f"in room {name} {reading.waiting:,} visitors wait and {reading.occupancy:,} are inside"


def _change(target: Target, name: str, changes: dict[str, Any], *, as_json: bool, create: bool = False) -> None:
    async def changed(rooms: Rooms) -> Room:
        await rooms.refresh()
        if name in rooms.faults:
            raise RoomBroken(rooms.faults[name])
        if create and name not in {room.name for room in rooms}:
            await rooms.create(name, parse_room(changes), expected=0)
            # The next line of a script may bring a visitor: by then every instance knows the room.
            await asyncio.sleep(READING_SECONDS)
            return rooms.get(name)
        return await rooms.change(name, changes)

    print_room(target.with_rooms(changed), as_json=as_json)


def _parsed(changes: list[str]) -> dict[str, Any]:
    faults = [f"{change!r} is not setting=value" for change in changes if "=" not in change]
    if faults:
        raise SettingsError("\n".join(faults))
    pairs = (change.partition("=") for change in changes)
    return {name: room_value(name, text) for name, _, text in pairs}


def _warn_of_rest(target: Target, changes: dict[str, Any]) -> None:
    """Name the settings that do nothing where the servers see no more than this command does."""
    if target.settings.fault_of_tokens(changes.get("enqueue_tokens")):
        warn("enqueue_tokens: this command sees no enqueue_keys. Servers without them take no token")
    if any(changes.get(name) for name in PER_SOURCE) and not target.settings.trusted_proxies:
        warn(f"{', '.join(PER_SOURCE)}: this command sees no trusted_proxies. Servers without them limit no visitor")


def _state(state: str, message: str | None) -> dict[str, Any]:
    return {"state": state} if message is None else {"state": state, "message": message}
