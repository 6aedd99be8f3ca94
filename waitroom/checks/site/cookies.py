"""Whether a browser keeps a visitor's proofs, and whether they come back: to the instances, and to the gate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from waitroom.checks.finding import Finding
from waitroom.checks.site.gate import PAGE, Attempt, judge, proofs, without_pass
from waitroom.checks.site.jar import Refusal
from waitroom.checks.site.line import SILENCE, Answer
from waitroom.checks.site.visit import Visitor, claims, fresh, unseen

#: Why a browser does not keep a cookie, and what to do.
_RULES: Final = {
    "secure": (
        "The cookie is `Secure`, and the visitor comes by http: a browser drops it.",
        "Serve the site by https, or set public_url (WAITROOM_PUBLIC_URL) to its http address. Restart the instances.",
    ),
    "domain": (
        "The cookie names a domain that is not the site's: a browser drops it.",
        "Take `proxy_cookie_domain` (or the same rule of another proxy or CDN) out of the server.",
    ),
    "path": (
        "The cookie is for a part of the site only, and does not come to the other addresses.",
        "Take `proxy_cookie_path` (or the same rule of another proxy or CDN) out of the server.",
    ),
    "prefix": (
        "The cookie begins with __Host- and is not `Secure` any more: a browser drops it.",
        "Take `proxy_cookie_flags` (or the same rule of another proxy or CDN) out of the server.",
    ),
    "same-site": (
        "The cookie is `SameSite=None` and not `Secure`: a browser drops it.",
        "Take `proxy_cookie_flags` (or the same rule of another proxy or CDN) out of the server.",
    ),
    "size": (
        "The cookie has more than 4,096 bytes: a browser drops it.",
        "Find the proxy or CDN that makes it longer, and take its rule away.",
    ),
}

_BLOCKED: Final = (
    "The answer brings a place and no cookie: something on the way takes Set-Cookie off.",
    "Take `proxy_hide_header Set-Cookie` (or the rule of the proxy or CDN that does the same) off the whole site.",
)
_STRIPPED: Final = (
    "The browser sends the cookie, and the instance does not get it: something on the way takes it off.",
    'Take `proxy_set_header Cookie "";` (or the rule of the proxy or CDN that does the same) off the whole site.',
)
_GATE_BLIND: Final = (
    "The gate is asked without the visitor's cookie.",
    "Let each proxy in front pass Cookie on. In nginx: `proxy_set_header Cookie $http_cookie;` in waitroom-check.conf.",
)


def examine(visitor: Visitor, entered: Answer, target: str) -> Finding:
    """Look at what `enter` answered, then bring it back: to `status`, and with a pass to the gate."""
    if visitor.jar.refused:
        return _refused(visitor.jar.refused[0], visitor)
    if not visitor.jar.kept:
        return _fail(f"enter: {entered.status} with no Set-Cookie", _BLOCKED)
    names = ", ".join(visitor.jar.kept)
    try:
        back = visitor.status()
        if back.status == 401:
            # A cache that keeps another's 401 is found by what it does to several visitors.
            back = visitor.status(past_caches=True)
    except SILENCE as error:
        return Finding("cookies", "unknown", f"status does not answer: {error}", "Ask again.")
    if back.status == 401:
        return _fail(f"status with the cookie {names}: 401", _STRIPPED)
    if back.status != 200:
        return Finding("cookies", "unknown", f"status with the cookie {names}: {back.status}", "Ask again.")
    if visitor.jar.refused:
        return _refused(visitor.jar.refused[0], visitor)
    if forgot := _on_the_page(visitor):
        return forgot
    if not visitor.admitted:
        told = f"{names} kept and brought back; no visitor is admitted now, so the gate saw no pass"
        return Finding("cookies", "ok", told)
    return _at_the_gate(visitor, target)


def examine_gate(attempts: Sequence[Attempt]) -> Finding | None:
    """Whether the gate's own passes came with their cookie, as far as any was given."""
    lost = [attempt for attempt in attempts if attempt.let_in and not attempt.given]
    return _fail(f"{lost[0].target} let a visitor in with no Set-Cookie", _BLOCKED) if lost else None


def _on_the_page(visitor: Visitor) -> Finding | None:
    """Whether the waiting page takes the visitor for a new one."""
    kept, before, seen = dict(visitor.jar.kept), visitor.who, visitor.places.proofs
    try:
        answer = visitor.go(fresh(f"/wait/{visitor.room}"))
        again = visitor.status(past_caches=True)
    except SILENCE:
        return None
    if again.status == 200 and visitor.who != before:
        names, anew = ", ".join(kept), visitor.places.proofs - seen
        visitor.jar.kept = kept
        visitor.status(past_caches=True)
        if anew and any(text in line for text in anew for line in answer.cookies):
            return _fail(f"/wait/{visitor.room} with the cookie {names}: a new place", _STRIPPED)
    return None


def _at_the_gate(visitor: Visitor, target: str) -> Finding:
    kept = dict(visitor.jar.kept)
    try:
        # An address that no cache has: this is about the gate.
        answer = visitor.go(fresh(target))
    except SILENCE as error:
        return Finding("cookies", "unknown", f"{target} with a pass does not answer: {error}", "Ask again.")
    names = ", ".join(visitor.jar.kept)
    verdict, detail, let_in = judge(answer)
    anew = let_in and visitor.who not in {claims(text).get("sub") for text in proofs(answer)}
    if anew:
        # The visitor stays the same.
        visitor.jar.kept = kept
    if anew or (verdict == "gated" and not let_in and answer.status in (303, 401)):
        if _known_elsewhere(visitor):
            return Finding("cookies", "ok", f"{names} kept, brought back, and known at the gate")
        told = "let in as a new visitor" if anew else detail
        return _fail(f"{target} with the cookie {names}: {told}", _GATE_BLIND)
    return Finding("cookies", "ok", f"{names} kept, brought back, and known at the gate")


def _known_elsewhere(visitor: Visitor) -> bool:
    """Whether the gate knows the pass at an address that no cache can have, and does not stand open there."""
    path, headers = unseen(), {**PAGE, **visitor.jar.line()}
    try:
        answer, newcomer = visitor.site.ask("GET", path, headers), without_pass(visitor.site, "GET", unseen(), PAGE)
    except SILENCE:
        return False
    visitor.places.note(visitor.site, answer)
    visitor.places.note(visitor.site, newcomer)
    return judge(answer)[0] == "open" and judge(newcomer)[0] == "gated"


def _refused(refusal: Refusal, visitor: Visitor) -> Finding:
    shown = "; ".join([f"{refusal.name}=…", *(part.strip() for part in refusal.line.split(";")[1:])])
    return _fail(f"at {visitor.site.origin} a browser does not keep {shown}", _RULES[refusal.rule])


def _fail(detail: str, why: tuple[str, str]) -> Finding:
    cause, remedy = why
    return Finding("cookies", "fail", detail, remedy, cause)
