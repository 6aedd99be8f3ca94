"""`waitroom room`: rooms shown and changed, live."""

from __future__ import annotations

import io
import re
import sys

import httpx
import pytest
from redis import Redis

from rig.instance import Instance
from rig.waiting import until
from tests.cli.command import room, sentences
from waitroom.store.embedded.folder import running_url


def test_list_and_show(served: Instance) -> None:
    """list has a line for each room, show the settings and counts of one."""
    listed = room(served, "list")
    assert listed.returncode == 0
    assert re.search(r"shop\s.*open\s.*0\s.*0\s.*3\s.*unlimited\s.*Hello\.", listed.stdout)
    shown = room(served, "show", "shop")
    assert shown.returncode == 0
    assert re.search(r"capacity\s.*3", shown.stdout)
    assert "entered 0" in shown.stdout


def test_set_changes_a_room_live(served: Instance) -> None:
    """set changes what is given and keeps the rest; the running server follows."""
    made = room(served, "set", "changing", "capacity=5", "message=Hi.")
    assert "enqueue_keys" not in made.stderr
    assert "sees no enqueue_keys" in room(served, "set", "changing", "enqueue_tokens=accepted").stderr
    assert room(served, "set", "changing", "enqueue_tokens=off").stderr == ""
    assert made.returncode == 0, made.stderr
    assert room(served, "set", "changing", "admit_per_second=2.5", "sliding=true").returncode == 0

    def follows() -> bool:
        return bool(served.shown("/v1/rooms/changing").get("admit_per_second") == 2.5)

    until(follows, what="the change")
    document = served.shown("/v1/rooms/changing")
    assert (document["capacity"], document["message"]) == (5, "Hi.")


def test_pause_resume_close(served: Instance) -> None:
    """Each command brings the room into its state, with the message that goes with it; the server follows."""
    room(served, "set", "states", "capacity=1")
    until(lambda: served.get("/v1/rooms/states")[0] == 200, what="the room")
    before = "open"
    for command, state in (("pause", "paused"), ("resume", "open"), ("close", "closed")):
        bring(served, command, before=before, state=state)
        before = state


def bring(served: Instance, command: str, *, before: str, state: str) -> None:
    """Change the state of the room "states", and see it change, whoever looks."""
    done = room(served, command, "states", "--message", f"It is {state}.")
    assert done.returncode == 0, done.stderr
    assert re.search(rf"state\s.*{state}", done.stdout)
    assert f"It is {state}." in done.stdout
    until(lambda: served.shown("/v1/rooms/states").get("state") == state, what="the change")
    # Whoever changes a room, and by what way, the instance says so in a line of its log; texts by name only.
    said = f"room states was changed: state {before} to {state}, message\n"
    until(lambda: said in served.said(), what="the word of it")


def test_delete(served: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says who would lose a place, and asks: only a yes changes anything; then the server knows no such room."""
    room(served, "set", "doomed", "capacity=1")
    until(lambda: served.get("/v1/rooms/doomed")[0] == 200, what="the room")
    for _ in range(3):
        httpx.post(f"{served.url}/v1/rooms/doomed/enter")
    for answer in ("n\n", "", "what\nno\n"):
        monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
        done = room(served, "delete", "doomed")
        assert done.returncode == 1
        assert "in room doomed 2 visitors wait and 1 are inside. Delete it?" in done.stdout
        assert "nothing was deleted: --yes deletes without asking" in done.stderr
    assert room(served, "show", "doomed").returncode == 0
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert room(served, "delete", "doomed").returncode == 0
    until(lambda: served.get("/v1/rooms/doomed")[0] == 404, what="its end")
    until(lambda: "room doomed was deleted" in served.said(), what="the word of it")


def test_a_list_by_comma_or_as_json(served: Instance) -> None:
    """Both ways in which a list can be written give the same."""
    for text in ("https://a.example, https://b.example", '["https://a.example", "https://b.example"]'):
        assert room(served, "set", "lists", f"return_origins={text}").returncode == 0
        shown = room(served, "show", "lists").stdout
        assert re.search(r"return_origins\s.*https://a.example.*https://b.example", shown)
        assert room(served, "set", "lists", "return_origins=").returncode == 0
        assert "example" not in room(served, "show", "lists").stdout


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ("places_per_address=5", "this command sees no trusted_proxies. Servers without them limit no visitor"),
        ("enqueue_tokens=accepted", "this command sees no enqueue_keys. Servers without them take no token"),
        ("places_per_network=0", ""),
        ("enqueue_tokens=off", ""),
    ],
)
def test_what_rests_for_want_of_another_setting_is_said(served: Instance, change: str, word: str) -> None:
    """The change is made: the servers may have what this command does not see."""
    done = room(served, "set", "resting", change)
    assert done.returncode == 0
    assert (word in done.stderr) if word else (done.stderr == "")


def test_a_broken_room_is_not_changed(served: Instance) -> None:
    """The fault is named, and not taken for a room that is to be made."""
    room(served, "set", "odd", "capacity=1")
    with Redis.from_url(str(running_url(served.data))) as client:
        client.hset("waitroom:{odd}:config", "capacity", "rubbish")
        for command in (("set", "odd", "capacity=7"), ("pause", "odd")):
            done = room(served, *command)
            assert (done.returncode, "rubbish" in done.stderr, "capacity" in done.stderr) == (1, True, True)
        client.hset("waitroom:{odd}:config", "capacity", "1")


def test_delete_what_cannot_be_read(served: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """A room whose keys are corrupt can be deleted and made anew, as docs/explanation/failures.md says."""
    room(served, "set", "corrupt", "capacity=1")
    with Redis.from_url(str(running_url(served.data))) as client:
        client.delete("waitroom:{corrupt}:config")
        client.set("waitroom:{corrupt}:config", "x")
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    done = room(served, "delete", "corrupt")
    assert (done.returncode, "room corrupt cannot be read (" in done.stdout) == (0, True)
    until(lambda: served.get("/readyz")[0] == 200, what="the end of the fault")
    assert room(served, "delete", "corrupt", "--yes").returncode == 1
    # Of another nothing is left but that it is listed.
    with Redis.from_url(str(running_url(served.data))) as client:
        client.hset("waitroom:rooms", "ghost", "live")
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    done = room(served, "delete", "ghost")
    assert (done.returncode, "room ghost cannot be read (it is listed, but" in done.stdout) == (0, True)
    assert room(served, "set", "corrupt", "capacity=2").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (("show", "nowhere"), 1, "nowhere"),
        (("pause", "nowhere"), 1, "nowhere"),
        (("close", "Nowhere!"), 2, "not a room name"),
        (("delete", "nowhere"), 1, "no room 'nowhere'"),
        (("delete", "nowhere", "--yes"), 1, "no room 'nowhere'"),
        (("delete", "Nowhere!", "--yes"), 2, "not a room name"),
        (("show", "Nowhere!"), 2, "not a room name"),
        (("set", "Nowhere!", "capacity=1"), 2, "not a room name"),
        (("set", "shop", "capacity=many"), 2, "capacity: "),
        (("set", "shop", "capacity=-1"), 2, "capacity: "),
        (("set", "shop", "bogus=1"), 2, "bogus: no such setting"),
        (("set", "shop", "capacity"), 2, "setting=value"),
        (("set", "shop", "return_origins=x"), 2, "return_origins"),
        (("set", "shop", "return_origins=[x"), 2, "return_origins"),
        (("set", "shop", "session_seconds=nan"), 2, "session_seconds: "),
        (("set", "shop", "state=ajar"), 2, "state: "),
        (("set", "new", "capacity=-1"), 2, "capacity: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_cannot_be_done_is_one_sentence(
    served: Instance, arguments: tuple[str, ...], code: int, word: str
) -> None:
    """Unknown rooms are exit code 1, wrong arguments 2; each is told in a sentence and changes nothing."""
    before = served.shown("/v1/rooms/shop")["capacity"]
    (said,) = sentences(room(served, *arguments), code=code)
    assert word in said
    assert served.shown("/v1/rooms/shop")["capacity"] == before


@pytest.mark.parametrize("message", ["[red]Sale[/red]", "[/] Sale", "a [link=x] b", "\\[x]"])
def test_a_message_is_shown_as_it_is(served: Instance, message: str) -> None:
    """Whatever an operator has written is printed as that text, not taken for markup."""
    try:
        for arguments in (("set", "spoken", f"message={message}"), ("show", "spoken"), ("list",)):
            done = room(served, *arguments)
            assert done.returncode == 0, done.stderr[-300:]
            assert message in done.stdout
    finally:
        key = (served.data / "admin-key").read_text().strip()
        httpx.delete(f"{served.url}/admin/rooms/spoken", headers={"Authorization": f"Bearer {key}"})


def test_a_broken_room_is_not_passed_over(served: Instance) -> None:
    """list says which rooms it cannot read, and why, beside those that it can."""
    room(served, "set", "broken", "capacity=1")
    with Redis.from_url(running_url(served.data) or "") as client:
        client.hset("waitroom:{broken}:config", "capacity", "many")
        try:
            listed = room(served, "list")
        finally:
            client.hset("waitroom:{broken}:config", "capacity", "1")
    assert "shop" in listed.stdout
    assert "broken" in listed.stdout + listed.stderr
    assert "capacity" in (listed.stdout + listed.stderr).partition("broken")[2]
