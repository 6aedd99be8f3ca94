"""The `waitroom` command, run as an operator runs it, and what it says."""

from __future__ import annotations

import io
import logging
import os
import re
import signal
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import pytest

from rig.instance import Instance
from rig.process import environment
from waitroom.cli.main import main

#: Keys that are good in production.
KEYS = {
    "WAITROOM_ADMIN_KEY": "an-admin-key-made-up-for-the-tests-0123456789",
    "WAITROOM_SIGNING_KEYS": "k1:a-signing-key-made-up-for-the-tests-0123456789",
}

#: Wide enough for tables, and without colours.
PLAIN = {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}


Done = subprocess.CompletedProcess[str]


def run(*arguments: str, folder: Path, **more: str) -> Done:
    """A command that ends by itself, run in that folder; in this process, which is ten times as fast as another one.

    A failure that the command does not expect comes out as the exception that it is. What a command sets for its whole
    process is put back.
    """
    out, err, root = io.StringIO(), io.StringIO(), logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    on_signal = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with (
            redirect_stdout(out),
            redirect_stderr(err),
            chdir(folder),
            patch.dict(os.environ, environment(**{**PLAIN, **more}), clear=True),
            patch.multiple(sys, argv=["waitroom", *arguments], excepthook=sys.excepthook),
            pytest.raises(SystemExit) as ended,
        ):
            main()
    finally:
        for number, handler in on_signal.items():
            signal.signal(number, handler)
        root.setLevel(level)
        root.handlers[:] = handlers
    code = ended.value.code
    return Done(arguments, code if isinstance(code, int) else int(code is not None), out.getvalue(), err.getvalue())


def room(served: Instance, *arguments: str) -> Done:
    """A `waitroom room` command on the rooms of an instance's embedded server."""
    return run("room", *arguments, "--data-dir", str(served.data), folder=served.data.parent)


def sentences(done: Done, *, code: int) -> list[str]:
    """What a failed command said on stderr: sentences of ours, no traceback, with that exit code."""
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("waitroom: ")]
    # Before it finds the fault, serve may have logged.
    assert all(line in said or re.match(r"\d{4}-\d\d-\d\d .* INFO ", line) for line in done.stderr.splitlines())
    return [line.removeprefix("waitroom: ") for line in said]
