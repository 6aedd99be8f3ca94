"""What the instances saw of the doctor's own requests, and what follows: the visitor's address, `public_url`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Any, Final

from waitroom.checks.finding import Finding
from waitroom.checks.site.clocks import Reading
from waitroom.checks.site.gate import CALL
from waitroom.checks.site.line import SILENCE, Answer, Site
from waitroom.checks.site.visit import document, fresh, told_time
from waitroom.proofs.question import ask, new_nonce

#: Questions, each on a connection of its own: several instances may answer.
_QUESTIONS: Final = 4

#: An address that no visitor has (RFC 5737), as a client may claim it.
_CLAIMED: Final = "192.0.2.77"

#: What an instance of this version tells.
_TOLD: Final = frozenset(
    {
        "nonce",
        "peer",
        "forwarded_for",
        "network_says",
        "client",
        "proxies_known",
        "counts_addresses",
        "scheme",
        "host",
        "public_url",
        "clock_ahead_seconds",
        "as_of",
    }
)

_NEEDS_KEY: Final = "Give the admin key: --admin-key-file FILE, or WAITROOM_ADMIN_KEY in the environment."

_PRESERVE: Final = (
    "In nginx name what stands in front: `set_real_ip_from NETWORK; real_ip_header X-Forwarded-For; real_ip_recursive "
    "on;` in the server, as deploy/nginx/variants/behind-cdn.conf does. Let it send X-Forwarded-For."
)


@dataclass(frozen=True)
class Sight:
    """What one instance saw, and the request as it left here."""

    told: dict[str, Any]
    answer: Answer
    before: float
    after: float

    @property
    def reading(self) -> Reading:
        """The times that it tells."""
        return Reading(self.answer, told_time(self.told["as_of"]), self.before, self.after)


@dataclass(frozen=True)
class Sights:
    """What the instances saw; `why` says why they told nothing."""

    seen: tuple[Sight, ...] = ()
    claimed: Sight | None = None
    why: str = ""
    remedy: str = _NEEDS_KEY


def look(site: Site, room: str, admin_key: str) -> Sights:
    """Ask the instances what they see."""
    if not admin_key:
        return Sights(why="only an instance can tell, and without the admin key it does not")
    if not room:
        return Sights(why="it is not known which room to ask", remedy="Name the room: --room NAME.")
    found: list[Sight] = []
    for _ in range(_QUESTIONS):
        sight = _look(site, room, admin_key)
        if isinstance(sight, Sights):
            return sight
        found.append(sight)
    claimed = _look(site, room, admin_key, {"X-Forwarded-For": _CLAIMED})
    return Sights(tuple(found), claimed if isinstance(claimed, Sight) else None)


def question(site: Site, room: str, admin_key: str) -> dict[str, str]:
    """A question as a header, by the time of the room: this machine's clock may be wrong."""
    return _question(site, room, admin_key, new_nonce())


def _question(site: Site, room: str, admin_key: str, nonce: str) -> dict[str, str]:
    now = time.time()
    try:
        answer = site.ask("GET", fresh(f"/v1/rooms/{room}"), CALL)
    except SILENCE:
        pass
    else:
        now = told_time(document(answer).get("as_of")) or now
    return {"X-Waitroom-Doctor": ask(admin_key, room, nonce, now=now)}


def _look(site: Site, room: str, admin_key: str, more: dict[str, str] | None = None) -> Sight | Sights:
    nonce, before = new_nonce(), time.time()
    headers = {**CALL, **_question(site, room, admin_key, nonce), **(more or {})}
    try:
        before = time.time()
        answer = site.ask("GET", fresh(f"/v1/rooms/{room}/seen"), headers)
    except SILENCE as error:
        return Sights(why=f"the instances do not answer: {error}", remedy="Ask again.")
    told = document(answer)
    if answer.status == 200 and told.get("nonce") == nonce and told.keys() >= _TOLD:
        return Sight(told, answer, before, time.time())
    if answer.status == 401:
        remedy = "Give the key that the instances have (admin_key, or the file admin-key in their data_dir)."
        return Sights(why="an instance does not take the admin key", remedy=remedy)
    remedy = "See that /v1/ leads to instances of this version, with X-Waitroom-Doctor and without a cache."
    return Sights(why=f"/v1/rooms/{room}/seen: {answer.status}, not what an instance saw", remedy=remedy)


def examine_address(sights: Sights, *, own: str = "") -> Finding:
    """Whether the instances know from which address a visitor comes; `own`: the doctor's as the site should see it."""
    if not sights.seen:
        return Finding("visitor-address", "unknown", sights.why, sights.remedy)
    if sights.claimed is not None and _known(sights.claimed) == _CLAIMED:
        return _fail(
            f"a visitor sent `X-Forwarded-For: {_CLAIMED}` and was taken for {_CLAIMED}",
            "The outermost proxy passes on what a client says of its address.",
            "In nginx put `proxy_set_header X-Forwarded-For $remote_addr;` (waitroom-proxy.conf), and trust by "
            "`set_real_ip_from` only what stands in front of it.",
        )
    verdicts = [_judge(sight, own) for sight in sights.seen]
    worst = next((each for kind in ("fail", "unknown") for each in verdicts if each.verdict == kind), verdicts[0])
    known = sorted({str(_known(sight)) for sight in sights.seen})
    if worst.verdict == "unknown" and len(known) > 1:
        return _fail(
            f"the same visitor is seen as {', '.join(known)}",
            "The instances see the addresses of several proxies instead of the visitor's.",
            _PRESERVE,
        )
    return worst


def _judge(sight: Sight, own: str) -> Finding:
    told, source = sight.told, plain(own or sight.answer.source)
    peer, chain = plain(str(told["peer"])), [plain(part) for part in str(told["forwarded_for"]).split(",")]
    last, network, known = chain[-1], plain(str(told["network_says"])), _known(sight)
    if known == source:
        if told["counts_addresses"] and not told["proxies_known"]:
            return _fail(
                f"the proxy tells the visitor's address {source}, and the instances do not look at it",
                "trusted_proxies is not set, so the room's limits per address rest.",
                f'Put `trusted_proxies = ["{peer or "unix"}"]` into the instances\' settings, and restart them.',
            )
        return Finding("visitor-address", "ok", f"a visitor from {source} is seen as {source}")
    if last == source and told["proxies_known"] and known == peer:
        return _fail(
            f"the proxy {peer} tells the visitor's address {source}, and the instances take the visitor for {peer}",
            f"{peer} is not among the trusted_proxies of the instances.",
            f'Add the proxy: `trusted_proxies = ["{peer}"]` in the settings of every instance, and restart them.',
        )
    if last == source:
        told_by = "the visitor comes from within trusted_proxies" if told["client"] is None else f"taken for {known}"
        if told["client"] is None:
            return Finding("visitor-address", "ok", f"the instances are told {source}; {told_by}")
        return _fail(
            f"the instances are told {source}, and it is {told_by}",
            "trusted_proxies holds the visitor's own network.",
            "Put only the proxies' own addresses into trusted_proxies.",
        )
    return _of_another(sight, source, peer, last, network, known, sure=bool(own))


def _of_another(
    sight: Sight, source: str, peer: str, last: str, network: str, known: str | None, *, sure: bool
) -> Finding:
    seen = f"a visitor from {source} is seen as {known or peer}"
    if not last:
        return _fail(
            f"{seen}, and no X-Forwarded-For came",
            "The proxy in front does not tell the instances whose request it passes on.",
            "In nginx put `proxy_set_header X-Forwarded-For $remote_addr;` (waitroom-proxy.conf) into /v1/ and /wait/.",
        )
    if network and network != known:
        cause = f"The proxy takes the content delivery network for the visitor, whose address is {network}."
        return _fail(seen, cause, _PRESERVE)
    by, site = known or peer, plain(sight.answer.peer)
    # A router on the way writes its own address over a private one: a public one, or in a private network any other.
    behind = (
        _private(source) and not source.startswith("127.") and (not _private(by) or (_private(site) and by != site))
    )
    if behind and not sure:
        return Finding(
            *(
                "visitor-address",
                "unknown",
                f"{seen}: that may be your own network's address, or a proxy's of the site",
            ),
            "Say which address you have outside: --from ADDRESS. Or ask from a machine with a public address.",
        )
    cause = f"A load balancer or proxy ({known or peer}) stands in front of the one that tells addresses."
    return _fail(seen, cause, _PRESERVE)


def _known(sight: Sight) -> str | None:
    """As whom the instance, or without trusted_proxies the limits of the proxy, know the visitor."""
    told = sight.told
    if told["client"] is not None:
        return plain(str(told["client"]))
    if told["proxies_known"]:
        return None
    return plain(str(told["forwarded_for"]).split(",")[-1]) or plain(str(told["peer"]))


def plain(text: str) -> str:
    """An address as text has it in one spelling; as it is where it is none."""
    try:
        address = ip_address(text.strip().strip("[]").partition("%")[0])
    except ValueError:
        return text.strip()
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def _private(text: str) -> bool:
    try:
        return not ip_address(text).is_global
    except ValueError:
        return True


def _fail(detail: str, cause: str, remedy: str) -> Finding:
    return Finding("visitor-address", "fail", detail, remedy, cause)


def examine_public_url(site: Site, sights: Sights, names: Sequence[str]) -> Finding:
    """Whether `public_url` is where visitors come; `names`: of the cookies that were set."""
    urls = sorted({str(sight.told["public_url"]) for sight in sights.seen})
    remedy = f'Set `public_url = "{site.origin}"` (WAITROOM_PUBLIC_URL) for every instance, and restart them.'
    if len(urls) > 1:
        cause = "The instances have different settings: each forgets the cookies of the others."
        return Finding("public-url", "fail", f"public_url is {' and '.join(map(repr, urls))}", remedy, cause)
    if urls:
        return _judge_url(site, urls[0], remedy)
    if not names:
        return Finding("public-url", "unknown", f"no cookie was seen, and {sights.why}", sights.remedy)
    hosted = any(name.startswith("__Host-") for name in names)
    if hosted != site.secure:
        told = f"at {site.origin} the instances set {names[0]}"
        return Finding("public-url", "fail", told, remedy, _scheme_cause(site))
    told = f"cookies are those of a site under {site.scheme}; the rest of public_url only an instance can tell"
    return Finding("public-url", "ok", told)


def _judge_url(site: Site, url: str, remedy: str) -> Finding:
    if url == site.origin or (not url and not site.secure):
        return Finding("public-url", "ok", f"public_url is {url or 'not set'}, visitors come to {site.origin}")
    told = f"public_url is {url or 'not set'}, and visitors come to {site.origin}"
    wrong_scheme = url.startswith("https:") != site.secure
    cause = _scheme_cause(site) if wrong_scheme else "Links that waitroom makes lead to another address than this."
    return Finding("public-url", "fail", told, remedy, cause)


def _scheme_cause(site: Site) -> str:
    if site.secure:
        return (
            "The instances take the site for one under http: cookies are not `Secure`, and other hosts can plant them."
        )
    return "The instances take the site for one under https: browsers drop their cookies."
