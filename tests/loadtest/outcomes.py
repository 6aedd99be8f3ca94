"""Outcomes of made-up histories, for reports."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from crowd.history import History
from loadtest.outcome import Outcome
from loadtest.plan import Plan
from loadtest.run import Seen, judged
from loadtest.scenarios import SCENARIOS
from tests.crowd.made import RULES, asked, good, told

SETTINGS: dict[str, Any] = {name: getattr(RULES, name) for name in RULES.__dataclass_fields__}


def outcome(
    name: str = "crowd", *, history: History | None = None, instances: int = 1, cpu_us: dict[str, float] | None = None
) -> Outcome:
    """What is judged of a history (a good one by default) as if it were that scenario's."""
    scenario = replace(SCENARIOS[name], rate=0.0)
    plan = Plan(folder=str(Path()), settings=SETTINGS)
    return judged(scenario, plan, history or told(*good()), Seen(), instances=instances, cpu_us=cpu_us or {})


def bad() -> Outcome:
    """An outcome with one fault that looks like HTML."""
    return outcome(history=told(*good(), asked("<b>", "enter", 7, outcome="fail", status=500)))
