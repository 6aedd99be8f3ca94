"""What was found of Redis, of the signing keys or of a site: one kind of finding for all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

#: `unknown`: it could not be told; the detail says why, the remedy what would help.
Verdict = Literal["ok", "warn", "fail", "unknown"]


@dataclass(frozen=True)
class Finding:
    """One thing that was checked: what was seen, why it is so where that is known, and what to do about it.

    `remedy` is empty where the verdict is ok.
    """

    name: str
    verdict: Verdict
    detail: str
    remedy: str = ""
    cause: str = ""

    @property
    def told(self) -> str:
        """What was found and what to do, on one line without a full stop at its end: for logs and lists."""
        parts = (self.detail, self.cause.removesuffix("."), self.remedy.removesuffix("."))
        return ". ".join(part for part in parts if part)


def unfit(findings: Iterable[Finding]) -> bool:
    """Whether anything found rules this out."""
    return any(finding.verdict == "fail" for finding in findings)
