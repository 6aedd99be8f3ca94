"""What operators call: /admin/rooms and below."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import httpx
import pytest

from rig.waiting import until
from tests.web import sites
from tests.web.sites import ADMIN, ADMIN_KEY, Site, assert_problem
from waitroom.settings.room import RoomSettings
from waitroom.store import keys

NewRoom = Callable[..., str]

ROOM_FIELDS = {"room", "version", "settings", "waiting", "occupancy", "offered", "counts"}

#: A value for every setting that differs from its default.
OTHER_VALUES: dict[str, Any] = {
    "capacity": 7,
    "admit_per_second": 3.5,
    "session_seconds": 77.0,
    "sliding": True,
    "claim_seconds": 44.0,
    "abandon_seconds": 99.0,
    "ticket_seconds": 5555.0,
    "max_waiting": 321,
    "state": "paused",
    "message": "Back soon.",
    "return_origins": ["https://shop.example"],
    "strict": True,
    "bind_user_agent": True,
    "places_per_address": 4,
    "places_per_network": 40,
    "challenge": "limited",
    "challenge_bits": 9,
    "enqueue_tokens": "accepted",
    "enqueue_url": "https://shop.example/login?next=queue",
    "page_status": 503,
    "when_down": "closed",
}


_ENQUEUE_SECRET: Final = "an-enqueue-key-made-up-for-the-tests-0123456789"


@pytest.fixture
def pair() -> Iterator[tuple[Site, Site]]:
    """Two instances of one Redis."""
    with sites.own_redis() as (url, redis):
        settings = sites.settings_for(url, rooms={"seeded": {}}, enqueue_keys=[f"shop:{_ENQUEUE_SECRET}"])
        with sites.serving(redis, settings) as one, sites.serving(redis, settings) as other:
            yield one, other


# The key.

CALLS = [
    ("GET", ""),
    ("GET", "/shop"),
    ("PUT", "/shop"),
    ("PATCH", "/shop"),
    ("DELETE", "/shop"),
    ("POST", "/shop/pause"),
    ("POST", "/shop/resume"),
    ("POST", "/shop/close"),
]


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_every_call_needs_the_key(site: Site, method: str, path: str) -> None:
    """Without the key each call answers 401 with a challenge, before it looks at anything else."""
    before = site.snapshot()
    answer = site.call(method, f"/admin/rooms{path}", content=b"not json")
    assert assert_problem(answer, 401)["type"] == "urn:waitroom:no-admin-key"
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert site.snapshot() == before


@pytest.mark.parametrize(
    "headers",
    [
        [("Authorization", "Bearer")],
        [("Authorization", "bearer x")],
        [("Authorization", f"Basic {ADMIN_KEY}")],
        [("Authorization", ADMIN_KEY)],
        [("Authorization", f"Bearer {ADMIN_KEY[:-1]}")],
        [("Authorization", f"Bearer {ADMIN_KEY}x")],
        [("Authorization", f"Bearer  {ADMIN_KEY}")],
        [("Authorization", f"Bearer {ADMIN_KEY} x")],
        [("Authorization", f"Bearer {ADMIN_KEY.upper()}")],
        [("Authorization", f"Bearer {ADMIN_KEY}"), ("Authorization", f"Bearer {ADMIN_KEY}")],
        [("Authorization", f"Bearer {ADMIN_KEY}"), ("Authorization", "Bearer x")],
        [("Authorization", "Bearer " + "x" * 30_000)],
        [("Authorization", "Bearer \xff\xfe")],
        [("Cookie", f"Authorization={ADMIN_KEY}; admin_key={ADMIN_KEY}")],
        [("X-Api-Key", ADMIN_KEY)],
    ],
    ids=lambda headers: "+".join(f"{name}:{value[:18]}({len(value)})" for name, value in headers),
)
def test_what_is_not_the_key_is_refused(site: Site, headers: list[tuple[str, str]]) -> None:
    """Only one whole key in one Authorization header opens."""
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    assert_problem(site.call("GET", "/admin/rooms", headers=raw), 401)


def test_a_key_in_the_address_is_refused(site: Site) -> None:
    """A query is no place for a key."""
    for name in ("key", "token", "access_token", "admin_key"):
        assert_problem(site.call("GET", f"/admin/rooms?{name}={ADMIN_KEY}"), 401)


def test_the_scheme_is_read_without_case(site: Site) -> None:
    """`bearer` is `Bearer` (RFC 9110)."""
    assert site.call("GET", "/admin/rooms", headers={"Authorization": f"bearer {ADMIN_KEY}"}).status_code == 200


# Reading.


def test_a_room_is_read_whole(site: Site, new_room: NewRoom) -> None:
    """A room's document has all settings, its sizes and its counts, and its version as ETag."""
    room = new_room(capacity=1)
    site.pass_of_new(room)
    site.ticket_of_new(room)
    answer = site.admin("GET", f"/{room}")
    assert answer.status_code == 200
    document = answer.json()
    assert document.keys() == ROOM_FIELDS
    assert (document["room"], document["waiting"], document["occupancy"], document["offered"]) == (room, 1, 1, 0)
    assert document["settings"] == RoomSettings(capacity=1).model_dump()
    counts = document["counts"]
    assert (counts["entered"], counts["admitted"], counts["claimed"], counts["left"]) == (2, 1, 1, 0)
    assert answer.headers["etag"] == f'"{document["version"]}"'
    assert answer.headers["cache-control"] == "no-store"


def test_the_list_has_every_room(site: Site, new_room: NewRoom) -> None:
    """Every room is listed with the same document that it is read by, and nothing is at fault."""
    made = {new_room(), new_room()}
    document = site.admin("GET").json()
    assert made <= {room["room"] for room in document["rooms"]}
    assert all(room.keys() == ROOM_FIELDS for room in document["rooms"])
    assert document["faults"] == {}


def test_an_unknown_room_is_404(site: Site) -> None:
    """What was never made can be neither read nor changed, and trying leaves no trace."""
    before = site.snapshot()
    assert_problem(site.admin("GET", "/nowhere"), 404)
    assert_problem(site.admin("PATCH", "/nowhere", json={"capacity": 1}), 404)
    for command in ("pause", "resume", "close"):
        assert_problem(site.admin("POST", f"/nowhere/{command}"), 404)
    assert site.snapshot() == before


def test_deleting_what_never_was_leaves_no_trace(site: Site) -> None:
    """A mistyped name is 404 and is not remembered as deleted: a room of that name in a file will still be made."""
    before = site.snapshot()
    assert_problem(site.admin("DELETE", "/mistyped"), 404)
    assert site.snapshot() == before


def test_a_broken_room_is_named_and_harms_no_other(site: Site, new_room: NewRoom) -> None:
    """A room whose keys are broken is listed among the faults; the others are read on."""
    broken, whole = new_room(), new_room()
    site.redis.hset(keys.room_key(broken, "config"), "capacity", "many")
    try:
        document = site.admin("GET").json()
        assert "capacity" in document["faults"][broken]
        assert whole in {room["room"] for room in document["rooms"]}
        assert site.enter(whole).status_code == 200
        assert_problem(site.enter(broken), 503)
    finally:
        site.redis.hset(keys.room_key(broken, "config"), "capacity", "1")
        until(lambda: site.call("GET", "/readyz").status_code == 200, what="readiness")


# Making and changing.


def test_put_makes_a_room(site: Site, new_room: NewRoom) -> None:
    """PUT answers 201 with the room at version 1; what is not given has its default."""
    room = new_room()
    site.admin("DELETE", f"/{room}")
    answer = site.admin("PUT", f"/{room}", json={"capacity": 5})
    assert (answer.status_code, answer.json()["version"], answer.headers["etag"]) == (201, 1, '"1"')
    assert answer.json()["settings"] == RoomSettings(capacity=5).model_dump()


def test_put_replaces_the_settings_and_keeps_the_visitors(site: Site, new_room: NewRoom) -> None:
    """PUT on a room that exists answers 200 with the next version; whoever waits keeps the place."""
    room = new_room(capacity=1, message="before")
    site.pass_of_new(room)
    ticket = site.ticket_of_new(room)
    answer = site.admin("PUT", f"/{room}", json={"capacity": 1})
    assert (answer.status_code, answer.json()["version"]) == (200, 2)
    assert answer.json()["settings"]["message"] == ""
    assert site.status(room, ticket).json()["rank"] == 1


@pytest.mark.parametrize("name", list(OTHER_VALUES))
def test_patch_changes_what_is_given(site: Site, new_room: NewRoom, name: str) -> None:
    """Every setting can be changed alone, and is read back as it was given; the rest stays."""
    room = new_room()
    answer = site.admin("PATCH", f"/{room}", json={name: OTHER_VALUES[name]})
    assert answer.status_code == 200
    assert answer.json()["settings"] == RoomSettings().model_dump() | {name: OTHER_VALUES[name]}
    assert site.admin("GET", f"/{room}").json() == answer.json()


@pytest.mark.parametrize("tokens", ["accepted", "required"])
def test_tokens_that_nobody_could_verify_are_refused(tokens: str) -> None:
    """As in the file: an instance without a key of the site's would shut everybody out."""
    with sites.own_redis() as (url, redis), sites.serving(redis, sites.settings_for(url)) as site:
        room = site.make_room()
        for method, path in (("PUT", "/new"), ("PATCH", f"/{room}")):
            problem = assert_problem(site.admin(method, path, json={"enqueue_tokens": tokens}), 400)
            assert (
                problem["detail"] == f"enqueue_tokens: '{tokens}' needs enqueue_keys, for without one no token is good"
            )
        assert site.admin("GET", "/new").status_code == 404
        assert site.admin("PATCH", f"/{room}", json={"enqueue_tokens": "off"}).status_code == 200


def test_every_setting_is_covered() -> None:
    """The table above has a value for each setting, and none that is the default."""
    assert OTHER_VALUES.keys() == RoomSettings.model_fields.keys()
    assert not [name for name, value in RoomSettings() if OTHER_VALUES[name] == value]


def test_every_fault_is_named(site: Site, new_room: NewRoom) -> None:
    """A document with several faults is refused whole, each named with its value."""
    room = new_room()
    before = site.snapshot()
    faulty = {"capacity": -1, "sliding": "yes", "prioritye": 1, "state": "opne"}
    for method in ("PUT", "PATCH"):
        detail = assert_problem(site.admin(method, f"/{room}", json=faulty), 400)["detail"]
        for name, value in faulty.items():
            assert f"{name}: " in detail
            assert repr(value) in detail
    assert site.snapshot() == before


@pytest.mark.parametrize(("command", "state"), [("pause", "paused"), ("resume", "open"), ("close", "closed")])
def test_commands_change_the_state(site: Site, new_room: NewRoom, command: str, state: str) -> None:
    """Each command brings the room into its state, also the second time, and may set the message."""
    room = new_room(state="bypass", message="before")
    assert site.admin("POST", f"/{room}/{command}").json()["settings"]["state"] == state
    answer = site.admin("POST", f"/{room}/{command}", json={"message": "Soon."})
    assert answer.status_code == 200
    assert (answer.json()["settings"]["state"], answer.json()["settings"]["message"]) == (state, "Soon.")
    assert site.admin("POST", f"/{room}/{command}").json()["settings"]["message"] == "Soon."


def test_a_command_takes_nothing_but_a_message(site: Site, new_room: NewRoom) -> None:
    """Any other field is refused by name."""
    room = new_room()
    detail = assert_problem(site.admin("POST", f"/{room}/pause", json={"capacity": 1}), 400)["detail"]
    assert "capacity" in detail
    assert site.admin("GET", f"/{room}").json()["settings"]["state"] == "open"


# Versions.


def test_if_match_guards_a_change(site: Site, new_room: NewRoom) -> None:
    """A change for another version than the room has is refused with 412 and changes nothing."""
    room = new_room()
    etag = site.admin("GET", f"/{room}").headers["etag"]
    assert site.admin("PATCH", f"/{room}", json={"capacity": 1}, headers={"If-Match": etag}).status_code == 200
    before = site.snapshot()
    for method, path, body in (
        ("PUT", "", {"capacity": 2}),
        ("PATCH", "", {"capacity": 2}),
        ("POST", "/pause", {}),
    ):
        answer = site.admin(method, f"/{room}{path}", json=body, headers={"If-Match": etag})
        assert "version 2" in assert_problem(answer, 412)["detail"]
    assert site.snapshot() == before


def test_if_match_guards_a_deletion(site: Site, new_room: NewRoom) -> None:
    """A deletion for another version is refused like any other change (RFC 9110, 13.1.1)."""
    room = new_room()
    assert_problem(site.admin("DELETE", f"/{room}", headers={"If-Match": '"7"'}), 412)
    assert site.admin("GET", f"/{room}").status_code == 200


def test_if_match_needs_a_room(site: Site, new_room: NewRoom) -> None:
    """A version, or any at all (`*`), is asked of a room that does not exist: nothing is made, and nothing noted."""
    room = new_room()
    site.admin("DELETE", f"/{room}")
    before = site.snapshot()
    for match in ('"1"', "*"):
        answer = site.admin("PUT", f"/{room}", json={}, headers={"If-Match": match})
        assert_problem(answer, 404, 412)
        assert site.snapshot() == before


def test_if_none_match_makes_only_what_is_new(site: Site, new_room: NewRoom) -> None:
    """`If-None-Match: *` refuses to replace a room."""
    room = new_room()
    before = site.snapshot()
    answer = site.admin("PUT", f"/{room}", json={"capacity": 2}, headers={"If-None-Match": "*"})
    assert_problem(answer, 412)
    assert site.snapshot() == before
    site.admin("DELETE", f"/{room}")
    answer = site.admin("PUT", f"/{room}", json={"capacity": 2}, headers={"If-None-Match": "*"})
    assert answer.status_code == 201


@pytest.mark.parametrize("match", ["x", '"x"', '"-1"', 'W/"1"', '"1.0"', '"1", "2"', '"' + "9" * 40 + '"', '""'])
def test_what_is_not_a_version_is_refused(site: Site, new_room: NewRoom, match: str) -> None:
    """An If-Match that no ETag of ours could be is 400."""
    room = new_room()
    assert_problem(site.admin("PATCH", f"/{room}", json={"capacity": 1}, headers={"If-Match": match}), 400)
    assert site.admin("GET", f"/{room}").json()["version"] == 1


def test_parallel_changes_of_different_settings_all_land(pair: tuple[Site, Site]) -> None:
    """Twenty changes at once on two instances: each answers 200, and no one's field is lost to another's."""
    one, _ = pair
    room = one.make_room()
    plans = list(OTHER_VALUES.items())
    plans += plans[: max(20 - len(plans), 0)]

    def change(plan: tuple[int, tuple[str, Any]]) -> int:
        index, (name, value) = plan
        address = f"{pair[index % 2].url}/admin/rooms/{room}"
        return httpx.patch(address, json={name: value}, headers=ADMIN, timeout=20).status_code

    with ThreadPoolExecutor(len(plans)) as pool:
        statuses = list(pool.map(change, enumerate(plans)))
    assert statuses == [200] * len(plans)
    document = one.admin("GET", f"/{room}").json()
    assert document["settings"] == OTHER_VALUES
    assert document["version"] == 1 + len(plans)


def test_parallel_changes_with_a_version_have_one_winner(site: Site, new_room: NewRoom) -> None:
    """Of ten changes for the same version one lands and nine are told 412."""
    room = new_room()
    headers = ADMIN | {"If-Match": '"1"'}

    def change(number: int) -> int:
        address = f"{site.url}/admin/rooms/{room}"
        return httpx.patch(address, json={"capacity": number}, headers=headers, timeout=20).status_code

    with ThreadPoolExecutor(10) as pool:
        statuses = sorted(pool.map(change, range(1, 11)))
    assert statuses == [200] + [412] * 9
    assert site.admin("GET", f"/{room}").json()["version"] == 2


def test_changes_reach_other_instances(pair: tuple[Site, Site]) -> None:
    """What is changed on one instance holds on the other within two seconds."""
    one, other = pair
    room = one.make_room()
    until(lambda: other.call("GET", f"/v1/rooms/{room}").status_code == 200, what="the room")
    one.admin("POST", f"/{room}/close")
    until(lambda: other.gate(room).status_code == 403, what="the change")


def test_lowering_the_capacity_evicts_nobody(site: Site, new_room: NewRoom) -> None:
    """Those inside stay; newcomers wait until occupancy is below the new capacity (I3)."""
    room = new_room(capacity=3)
    passes = [site.pass_of_new(room) for _ in range(3)]
    site.admin("PATCH", f"/{room}", json={"capacity": 1})
    assert [site.status(room, granted).status_code for granted in passes] == [200, 200, 200]
    assert site.enter(room).status_code == 202


# Deleting.


def test_delete_forgets_everything(site: Site, new_room: NewRoom) -> None:
    """Deleting with visitors inside and waiting leaves no key of the room; it is 404 to all of them."""
    room = new_room(capacity=1)
    granted, ticket = site.pass_of_new(room), site.ticket_of_new(room)
    answer = site.admin("DELETE", f"/{room}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert site.redis.exists(*keys.room_keys(room)) == 0
    assert_problem(site.status(room, ticket), 404)
    assert_problem(site.enter(room, granted), 404)
    assert site.gate(room, granted).status_code == 403
    assert_problem(site.admin("DELETE", f"/{room}"), 404)


def test_a_deleted_room_stays_deleted_for_other_instances(pair: tuple[Site, Site]) -> None:
    """An instance that still knows the room does not bring it back, neither for a visitor nor by itself."""
    one, other = pair
    granted = other.pass_of_new("seeded")
    one.admin("DELETE", "/seeded")
    assert_problem(other.enter("seeded"), 404)
    until(lambda: other.gate("seeded", granted).status_code == 403, what="forgetting")
    assert_problem(other.call("GET", "/v1/rooms/seeded"), 404)
    assert one.redis.exists(*one.redis.keys("waitroom:{seeded}:*"), "none") == 0


def test_a_deleted_room_is_not_made_again_from_the_file(pair: tuple[Site, Site]) -> None:
    """An instance that starts later with the room in its file does not make it again; PUT does, with nobody in it."""
    one, _ = pair
    url = "unix://" + one.redis.connection_pool.connection_kwargs["path"]
    one.enter("seeded")
    one.admin("DELETE", "/seeded")
    with sites.serving(one.redis, sites.settings_for(url, rooms={"seeded": {}})) as late:
        assert_problem(late.enter("seeded"), 404)
        assert late.admin("PUT", "/seeded", json={}).status_code == 201
        assert late.admin("GET", "/seeded").json()["counts"]["entered"] == 0


def test_a_refused_change_does_not_revive_a_deleted_room(pair: tuple[Site, Site]) -> None:
    """After a PUT that was refused for its version the room is as deleted as before, for every instance."""
    one, other = pair
    one.admin("DELETE", "/seeded")
    one.admin("PUT", "/seeded", json={}, headers={"If-Match": '"1"'})
    assert one.redis.hget(keys.ROOMS, "seeded") == "deleted"
    assert_problem(other.enter("seeded"), 404)


# Sending one visitor away.


@pytest.mark.parametrize("by", ["visitor", "pass", "ticket"])
def test_revoke_sends_one_visitor_away(site: Site, new_room: NewRoom, by: str) -> None:
    """Named by id or by a proof, a visitor loses the place and the pass; nobody else does."""
    room = new_room(capacity=2)
    granted, other = site.pass_of_new(room), site.pass_of_new(room)
    waiting = site.ticket_of_new(room)
    held = site.passes.verify(room, granted, now=site.now_us() / 1_000_000)
    assert held is not None
    body = {
        "visitor": {"visitor": held.visitor},
        "pass": {"proof": granted},
        "ticket": {"proof": waiting},
    }[by]
    answer = site.admin("POST", f"/{room}/revoke", json=body)
    assert (answer.status_code, answer.json()["had_place"]) == (200, True)
    assert site.admin("POST", f"/{room}/revoke", json=body).json()["had_place"] is False
    if by == "ticket":
        assert site.status(room, waiting).status_code == 410
    else:
        until(lambda: site.gate(room, granted).status_code == 403, what="revocation")
    assert site.gate(room, other).status_code == 204


def test_revoke_reaches_a_pass_without_a_record(site: Site, new_room: NewRoom) -> None:
    """A pass whose session Redis has lost is refused all the same."""
    room = new_room(capacity=1)
    granted = site.pass_of_new(room)
    site.redis.delete(*keys.room_keys(room, ("active", "offered")))
    assert site.gate(room, granted).status_code == 204
    assert site.admin("POST", f"/{room}/revoke", json={"proof": granted}).json()["had_place"] is False
    until(lambda: site.gate(room, granted).status_code == 403, what="revocation")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"visitor": "short"},
        {"visitor": 7},
        {"visitor": None},
        {"visitor": "a" * 23},
        {"visitor": "<script>alert(1)</script>"},
        {"proof": "x.y.z"},
        {"proof": ["x"]},
        {"proof": ""},
        {"visitor": "a" * 22, "proof": "x"},
        {"name": "x"},
    ],
)
def test_revoke_refuses_what_names_nobody(site: Site, new_room: NewRoom, body: dict[str, Any]) -> None:
    """What is no id and no proof of this room changes nothing, and the answer says what was wrong."""
    room = new_room(capacity=1)
    site.pass_of_new(room)
    before = site.snapshot()
    assert_problem(site.admin("POST", f"/{room}/revoke", json=body), 400)
    assert site.snapshot() == before


def test_revoke_takes_no_proof_of_another_room(site: Site, new_room: NewRoom) -> None:
    """A pass of one room names nobody in another (I20)."""
    room, elsewhere = new_room(capacity=1), new_room(capacity=1)
    answer = site.admin("POST", f"/{room}/revoke", json={"proof": site.pass_of_new(elsewhere)})
    assert_problem(answer, 400)
