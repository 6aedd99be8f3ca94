"""A browser's cookies for one site: which it takes, which come back, and why not (RFC 6265bis)."""

from __future__ import annotations

from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Final

from waitroom.checks.site.line import Answer, Site

#: Bytes of name and value that browsers keep at most.
_MOST_BYTES: Final = 4096


@dataclass(frozen=True)
class Refusal:
    """A cookie that a browser does not keep: its name, and by which rule."""

    name: str
    rule: str
    line: str


@dataclass
class Jar:
    """What is kept, by name; `refused` is what was not."""

    kept: dict[str, str] = field(default_factory=dict)
    refused: list[Refusal] = field(default_factory=list)

    def take(self, site: Site, answer: Answer) -> None:
        """Keep what an answer sets, as far as a browser would."""
        for line in answer.cookies:
            pair, *attributes = (part.strip() for part in line.split(";"))
            name, _, value = pair.partition("=")
            named = {key.strip().lower(): text.strip() for key, _, text in (each.partition("=") for each in attributes)}
            rule = _broken_rule(site, pair, name, named)
            if rule:
                self.refused.append(Refusal(name, rule, line))
            elif _is_over(named):
                self.kept.pop(name, None)
            else:
                self.kept[name] = value

    def line(self, *more: str) -> dict[str, str]:
        """The header that brings it all back, with more cookies behind."""
        pairs = [*(f"{name}={value}" for name, value in self.kept.items()), *more]
        return {"Cookie": "; ".join(pairs)} if pairs else {}


def _broken_rule(site: Site, pair: str, name: str, named: dict[str, str]) -> str:
    """By which rule a browser drops the cookie, or sends it to a part of the site only; empty where it keeps it."""
    secure, domain, path = "secure" in named, named.get("domain", ""), named.get("path", "")
    if len(pair) > _MOST_BYTES:
        return "size"
    if (secure or name.startswith(("__Host-", "__Secure-"))) and not site.secure:
        return "secure"
    if domain and not _covers(domain.removeprefix(".").lower(), site.host.lower()):
        return "domain"
    if name.startswith("__Host-") and domain:
        return "domain"
    if path != "/":
        return "path"
    if name.startswith(("__Host-", "__Secure-")) and not secure:
        return "prefix"
    if named.get("samesite", "").lower() == "none" and not secure:
        return "same-site"
    return ""


def _covers(domain: str, host: str) -> bool:
    if domain == host:
        return True
    # A name of one part, such as `com`, has no owner, and an address has no part above it.
    return "." in domain and host.endswith("." + domain) and not host.replace(".", "").isdigit()


def _is_over(named: dict[str, str]) -> bool:
    if "max-age" in named:
        return named["max-age"].startswith("-") or named["max-age"] == "0"
    try:
        return "expires" in named and parsedate_to_datetime(named["expires"]).timestamp() <= 1
    except ValueError:
        return False
