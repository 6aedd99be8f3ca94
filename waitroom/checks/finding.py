"""What was found of Redis or of the signing keys: one kind of finding for both. (`gate` judges single requests.)"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """One thing that was checked; `remedy` says what to do and is empty where the verdict is ok."""

    name: str
    verdict: Verdict
    detail: str
    remedy: str = ""

    @property
    def told(self) -> str:
        """What was found and what to do, on one line without a full stop at its end: for logs and lists."""
        return ". ".join(part for part in (self.detail, self.remedy.removesuffix(".")) if part)


def unfit(findings: Iterable[Finding]) -> bool:
    """Whether anything found rules this out."""
    return any(finding.verdict == "fail" for finding in findings)
