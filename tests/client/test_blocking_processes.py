"""The client for threads in processes that are interrupted, end or fork."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rig.waiting import until
from tests.client.scene import QUICK, SLIDING, count, sizes
from tests.web import sites
from tests.web.sites import PATIENCE_SECONDS, Site

pytestmark = pytest.mark.long

#: How a process ends that Ctrl-C has ended.
INTERRUPTED = -signal.SIGINT

#: What holds a slot until it is interrupted.
HOLDER = """
    with BlockingClient(url) as client:
        with client.admission(room):
            print("inside", flush=True)
            time.sleep(60)
"""


#: A goodbye waits for the server as long as the slot lasts.
PATIENT = """
    from waitroom.client import goodbyes
    goodbyes.GOODBYE_SECONDS = 600
"""


@contextmanager
def program(text: str, site: Site, room: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process that runs these lines, gone at the end."""
    begin = f"import os, sys, threading, time\nfrom waitroom.client import *\nurl, room = {site.url!r}, {room!r}\n"
    pipe = subprocess.PIPE
    command = [sys.executable, "-W", "error", "-c", begin + textwrap.dedent(text)]
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    """The next line that the process writes."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def end_of(process: subprocess.Popen[str]) -> tuple[int, str]:
    """How the process ended, and the last line of its errors."""
    _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    return process.returncode, errors.strip().rpartition("\n")[2]


def interrupted(process: subprocess.Popen[str]) -> bool:
    """Whether one more interrupt ends the process."""
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    return process.poll() is not None


def test_interrupted_inside(site: Site) -> None:
    """The block ends with KeyboardInterrupt, and the slot is given back before the process ends."""
    room = site.make_room(**QUICK | {"session_seconds": 60})
    with program(HOLDER, site, room) as process:
        assert said(process) == "inside"
        process.send_signal(signal.SIGINT)
        assert end_of(process) == (INTERRUPTED, "KeyboardInterrupt")
        assert sizes(site, room) == (0, 0)
    assert count(site, room, "left") == 1


@pytest.mark.parametrize(
    "wait", ["client.wait_until_admitted(room)", "client.admission(room, timeout_seconds=60).__enter__()"]
)
def test_interrupted_while_waiting(site: Site, wait: str) -> None:
    """The place in the queue is given back before the process ends."""
    room = site.make_room(capacity=1, session_seconds=60)
    site.pass_of_new(room)
    with program(f"with BlockingClient(url) as client:\n    {wait}", site, room) as process:
        until(lambda: sizes(site, room) == (1, 1), what="a place in the queue")
        process.send_signal(signal.SIGINT)
        assert end_of(process) == (INTERRUPTED, "KeyboardInterrupt")
        assert sizes(site, room) == (0, 1)


def test_interrupted_at_any_moment_nothing_is_left(site: Site) -> None:
    """While a place is asked for, given, claimed or given back: no place stays behind, and the client goes on."""
    room = site.make_room(capacity=1000, session_seconds=60)
    text = """
        import random, signal

        def interrupt(*_):
            raise KeyboardInterrupt


        chance = random.Random(SEED)
        signal.signal(signal.SIGALRM, interrupt)
        with BlockingClient(url) as client:
            for _ in range(SHOTS):
                try:
                    signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0001, 0.02))
                    while True:
                        with client.admission(room):
                            pass
                except KeyboardInterrupt:
                    print("interrupted")
    """
    with program(text.replace("SEED", "7").replace("SHOTS", "100"), site, room) as process:
        out, errors = process.communicate(timeout=PATIENCE_SECONDS * 3)
    assert (process.returncode, errors, out.count("interrupted")) == (0, "", 100)
    assert sizes(site, room) == (0, 0)
    assert count(site, room, "entered") == count(site, room, "left")


def test_more_interrupts_do_not_wait_for_the_goodbye(tmp_path: Path) -> None:
    """The server is silent: the first waits for its answer, the second leaves the block, the third the client.

    The goodbye itself would wait for ten minutes here.
    """
    with sites.own_redis() as (url, redis), sites.program(redis, url, folder=tmp_path) as site:
        site.make_room("shop", **QUICK | {"session_seconds": 600})
        with program(PATIENT + HOLDER, site, "shop") as process:
            assert said(process) == "inside"
            os.kill(site.pid, signal.SIGSTOP)
            try:
                for _ in range(2):
                    process.send_signal(signal.SIGINT)
                    time.sleep(0.5)
                    assert process.poll() is None
                until(lambda: interrupted(process), what="its end")
                assert end_of(process) == (INTERRUPTED, "KeyboardInterrupt")
            finally:
                os.kill(site.pid, signal.SIGCONT)


@pytest.mark.parametrize("ending", ["", "sys.exit()"])
def test_the_end_of_a_process_with_an_open_client(site: Site, ending: str) -> None:
    """It ends at once and without a word, though a thread waits and another is inside; their places lapse."""
    room = site.make_room(**SLIDING | {"claim_seconds": 1})
    text = f"""
        client = BlockingClient(url)
        def hold():
            with client.admission(room):
                time.sleep(60)
        for number in range(2):
            threading.Thread(target=hold, daemon=True).start()
        sys.stdin.read()
        {ending}
    """
    with program(text, site, room) as process:
        until(lambda: sizes(site, room) == (1, 1), what="both places")
        assert end_of(process) == (0, "")
    until(lambda: sizes(site, room) == (0, 0), what="the places' end")


def test_a_fork(site: Site) -> None:
    """What was made before and not used works in it; what was used says what to do; the parent's slot stays."""
    room = site.make_room(**SLIDING)
    text = """
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 on: there are threads
        spare = BlockingClient(url)
        with BlockingClient(url) as client:
            with client.admission(room) as slot:
                child = os.fork()
                if not child:
                    try:
                        client.enter(room)
                    except RuntimeError as error:
                        print(error, flush=True)
                    with spare:
                        spare.leave(spare.enter(room))
            if child:
                print(os.waitpid(child, 0)[1], flush=True)
        print("end", "parent" if child else "child", flush=True)
    """
    with program(text, site, room) as process:
        out, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, errors) == (0, "")
    refused, *lines = out.strip().split("\n")
    assert re.fullmatch(rf"the client was used in process {process.pid} .+: make one in each process", refused)
    assert lines == ["end child", "0", "end parent"]
    assert sizes(site, room) == (0, 0)
    assert (count(site, room, "entered"), count(site, room, "left")) == (2, 2)
