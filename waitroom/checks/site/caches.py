"""Whether something in front keeps what is one visitor's own, and shows it to another."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from waitroom.checks.finding import Finding
from waitroom.checks.site.ending import ENDING
from waitroom.checks.site.gate import CALL, PAGE, PROOF, Attempt, judge, without_pass
from waitroom.checks.site.line import SILENCE, Answer, Site
from waitroom.checks.site.visit import Places, Visitor, document, fresh, told_time, unseen

#: Newcomers that open the waiting page. Some caches keep what they see for the second time only.
_NEWCOMERS: Final = 3

#: Seconds between looks at the public document: a busy site may once be late. And how old it may be.
_PAUSES_SECONDS: Final = (3.0, 5.0)
_OLDEST_SECONDS: Final = 6.0

_REMEDY: Final = (
    "Let the cache keep nothing below /wait/ and /v1/ but /wait/_assets/ and /v1/rooms/ROOM, and nothing of the gated "
    "site: no `proxy_cache` without the origin's Cache-Control, no `proxy_ignore_headers Cache-Control Set-Cookie`, no "
    "rule that caches everything."
)


def examine(
    site: Site, visitors: Sequence[Visitor], target: str, attempts: Sequence[Attempt], places: Places
) -> Finding:
    """Ask as several visitors for what each should get for themselves."""
    try:
        faults = [
            *_at_the_gate(attempts),
            *_statuses(visitors),
            *_pages(site, visitors[0].room if visitors else "", target, places),
            *_gated(site, visitors, target, places),
            *(_public(site, visitors[0].room) if visitors else ()),
        ]
    except SILENCE as error:
        return Finding("cache", "unknown", f"an answer did not come: {error}", "Ask again.")
    if faults:
        cause = "A cache in front keeps answers that belong to one visitor, or keeps them too long."
        return Finding("cache", "fail", "; ".join(faults), _REMEDY, cause)
    if not visitors:
        remedy = "Open or pause the room, so that it gives places, and ask again."
        return Finding("cache", "unknown", "no visitor was given a place, so no personal answer was seen", remedy)
    return Finding("cache", "ok", "each visitor got answers of their own, and what may be kept is fresh")


def _sign(answer: Answer) -> str:
    return f" ({answer.kept})" if answer.kept else ""


def _at_the_gate(attempts: Sequence[Attempt]) -> list[str]:
    """One pass for two newcomers."""
    given = Counter(text for attempt in attempts for text in set(attempt.given))
    if any(times > 1 for times in given.values()):
        return ["two visitors without a pass were given the same pass at the gate"]
    return []


def _statuses(visitors: Sequence[Visitor]) -> list[str]:
    """Each sees their own place, and later ones see later times."""
    for visitor in visitors:
        if not visitor.jar.kept:
            continue
        before = visitor.who
        answer = visitor.status()
        if answer.status == 401 and visitor.status(past_caches=True).status == 200:
            return [f"status refused a visitor with a place, and with another query it did not{_sign(answer)}"]
        if answer.status == 200 and before is not None and visitor.who != before:
            return [f"status told one visitor the place of another{_sign(answer)}"]
        if answer.status == 200 and answer.kept:
            return [f"status came from a cache{_sign(answer)}"]
    return []


def _pages(site: Site, room: str, target: str, places: Places) -> list[str]:
    """Newcomers each get a place of their own by the waiting page."""
    if not room:
        return []
    seen: list[tuple[tuple[str, ...], bytes]] = []
    for _ in range(_NEWCOMERS):
        answer = site.ask("GET", f"/wait/{room}?return={target}", PAGE)
        places.note(site, answer)
        given = tuple(match["text"] for match in map(PROOF.match, answer.cookies) if match)
        if answer.status not in (200, 303):
            return []
        places.unproved += not given
        if given and given in [proofs for proofs, _ in seen]:
            return [f"/wait/{room} gave two visitors the same place{_sign(answer)}"]
        if not given and answer.body and answer.body in [body for _, body in seen]:
            return [f"/wait/{room} showed two visitors the same page, word for word{_sign(answer)}"]
        if not given and any(proofs for proofs, _ in seen):
            return [f"/wait/{room} gave one visitor a place and showed another the page without one{_sign(answer)}"]
        if not given and answer.kept:
            return [f"/wait/{room} came from a cache{_sign(answer)}"]
        seen.append((given, answer.body or b""))
    return []


def _gated(site: Site, visitors: Sequence[Visitor], target: str, places: Places) -> list[str]:
    """What a visitor with a pass is shown is not shown to one without, nor a refusal to one with a pass."""
    inside = next((visitor for visitor in visitors if visitor.admitted and visitor.jar.kept), None)
    if inside is None:
        return []
    for _ in range(2):
        shown = inside.go(target)
    verdict, _, let_in = judge(shown)
    if verdict == "gated":
        others = (judge(inside.go(other))[0] for other in (fresh(target), unseen()))
        if not let_in and any(other == "open" for other in others):
            return [f"{target} refused a visitor with a pass, and another address did not{_sign(shown)}"]
        return []
    for headers in (PAGE, CALL):
        if _newcomer(site, target, headers, places) == "open" and (
            "gated" in [_newcomer(site, other, headers, places) for other in (fresh(target), unseen())]
        ):
            return [f"{target} was shown without a pass, after a visitor with one had seen it"]
    return []


def _newcomer(site: Site, target: str, headers: Mapping[str, str], places: Places) -> str:
    answer = without_pass(site, "GET", target, headers)
    places.note(site, answer)
    return judge(answer)[0]


def _public(site: Site, room: str) -> list[str]:
    """The room's document may be kept for a second."""
    path = f"/v1/rooms/{room}"
    first = site.ask("GET", path, CALL)
    for seconds in _PAUSES_SECONDS:
        ENDING.rest()
        time.sleep(seconds)
        for _ in range(2):
            # The second look finds what the first one made a cache renew.
            kept, new = site.ask("GET", path, CALL), site.ask("GET", fresh(path), CALL)
        ages = [_age(kept, new), _age(first, kept)]
        if ages[1] is None or ages[1] > 0:
            break
    if ages[0] is not None and ages[0] > _OLDEST_SECONDS:
        return [f"{path} is {ages[0]:.0f} s old{_sign(kept)}: it may be kept for one second"]
    if ages[1] is not None and ages[1] <= 0:
        return [f"{path} was the same after {sum(_PAUSES_SECONDS):.0f} s{_sign(kept)}: it may be kept for one second"]
    return []


def _age(old: Answer, new: Answer) -> float | None:
    """Seconds from one document's time to another's; None where one has none."""
    times = [told_time(document(answer).get("as_of")) for answer in (old, new)]
    if times[0] is None or times[1] is None:
        return None
    return times[1] - times[0]
