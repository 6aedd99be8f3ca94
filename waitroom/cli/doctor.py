"""`waitroom doctor`: what is wrong with an installation, with a remedy for each."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Final

import orjson
import typer

from waitroom.checks.site import doctor as site
from waitroom.checks.site.ending import ENDING
from waitroom.checks.site.sizes import HEADER_BYTES
from waitroom.cli.printing import print_findings, warn
from waitroom.errors import SettingsError
from waitroom.model import room_name
from waitroom.texts import cleaned, line_in, unquoted, without_odd_blanks

_VARIABLE: Final = "WAITROOM_ADMIN_KEY"


def doctor(
    urls: Annotated[list[str], typer.Argument(help="the site's address; then more that must need a pass")],
    paths: Annotated[
        list[str] | None, typer.Option("--path", help="another address of the site to try, as /path")
    ] = None,
    room: Annotated[str, typer.Option(help="the room's name; default: as the site's answers tell it")] = "",
    admin_key_file: Annotated[
        Path | None, typer.Option(help=f"file with the admin key; default: {_VARIABLE}. It does not leave this machine")
    ] = None,
    direct: Annotated[str, typer.Option(help="the origin's own address, to compare with")] = "",
    connect: Annotated[str, typer.Option(help="HOST:PORT to connect to instead of the site's name")] = "",
    ca_file: Annotated[str, typer.Option(help="certificate of an authority of your own")] = "",
    own_address: Annotated[str, typer.Option("--from", help="the address that this machine has outside")] = "",
    body_bytes: Annotated[int, typer.Option(min=0, max=2_000_000_000, help="size of the site's largest upload")] = 0,
    body_path: Annotated[str, typer.Option(help="where it goes: an admitted visitor sends one of that size")] = "",
    header_bytes: Annotated[int, typer.Option(min=1, max=1_000_000, help="bytes of cookies to bring")] = HEADER_BYTES,
    listen_seconds: Annotated[
        float, typer.Option(min=1, max=900, help="how long to listen to an event stream")
    ] = site.LISTEN_SECONDS,
    safe: Annotated[bool, typer.Option("--safe", help="do not send the empty POST to each address")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the findings as JSON")] = False,
) -> None:
    """What is wrong with this installation? Asked from outside, as a visitor's browser would.

    The doctor is a visitor: it takes some six places in the room for about a minute, and gives them back. In an open
    room some are inside. In a paused room all wait, and what only an admitted visitor sees cannot be told. A closed
    room gives no places, and little can be told.

    Exit code 0 if nothing is wrong as far as could be told, 1 if something is, 2 for a mistake in the arguments, 3 if
    the site or its gate did not answer.
    """
    questions = site.Questions(
        urls=urls,
        paths=[_path("path", path) for path in paths or ()],
        room=_room(room),
        admin_key=_admin_key(admin_key_file),
        direct=direct,
        connect=connect,
        ca_file=ca_file,
        own_address=_address(own_address),
        body_bytes=body_bytes,
        body_path=_path("body_path", body_path) if body_path else "",
        header_bytes=header_bytes,
        listen_seconds=listen_seconds,
        safe=safe,
    )
    # Told to end, it gives its places back first.
    with ENDING.heeded():
        report = site.examine(questions, say=warn)
    if as_json:
        findings = [asdict(finding) for finding in report.findings]
        document = {"site": report.site, "room": report.room, "exit_code": report.code, "findings": findings}
        sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        print_findings(report.findings)
        typer.echo(_summary(report))
    raise typer.Exit(report.code)


def _summary(report: site.Report) -> str:
    counted = {
        kind: sum(each.verdict == kind for each in report.findings) for kind in ("fail", "warn", "unknown", "ok")
    }
    of = f"of {len(report.findings)}"
    told = f"{counted['ok']} {of} are well"
    more = [
        f"{counted[kind]} {word}"
        for kind, word in (("fail", "wrong"), ("warn", "doubtful"), ("unknown", "not told"))
        if counted[kind]
    ]
    return ", ".join([told, *more])


def _room(name: str) -> str:
    try:
        return room_name(name) if name else ""
    except ValueError as error:
        raise SettingsError(str(error)) from None


def _path(option: str, path: str) -> str:
    if not path.startswith("/") or not path.isascii() or not path.isprintable() or " " in path:
        raise SettingsError(f"{option}: must begin with / and be percent-encoded, got {path!r}")
    return path


def _address(text: str) -> str:
    try:
        return str(ip_address(text)) if text else ""
    except ValueError:
        raise SettingsError(f"from: must be an IP address, got {text!r}") from None


def _admin_key(file: Path | None) -> str:
    if file is None:
        return without_odd_blanks(cleaned(unquoted(os.environ.get(_VARIABLE, ""))))
    try:
        return line_in(file.read_bytes())
    except OSError as error:
        raise SettingsError(f"admin_key_file: {str(file)!r} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise SettingsError(f"admin_key_file: {str(file)!r}: {error}") from None
