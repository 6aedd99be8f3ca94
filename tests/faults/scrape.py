"""What Prometheus would have seen of a run, and which of the shipped alerts it would have fired.

Instances are really scraped, every fifth of a second instead of every five seconds, and every duration in the rules is
divided by as much: the rules' time runs 25 times as fast, and the instances' own does not. Prometheus's own rule engine
(promtool) then judges the shipped expressions on what was scraped.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from rig import machine

ALERTS: Final = Path(__file__).parent.parent.parent / "deploy" / "prometheus" / "alerts.yml"

#: Seconds between two scrapes, as shipped and here.
_SHIPPED_SECONDS: Final = 5.0
SCRAPE_SECONDS: Final = 0.2

#: How much faster the rules' time runs.
FASTER: Final = _SHIPPED_SECONDS / SCRAPE_SECONDS

_SAMPLE: Final = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_NAME: Final = re.compile(r"\bwaitroom_[a-z_]+")
_DURATION: Final = re.compile(r"(?<=\[)(\d+)([smh])(?=\])|(?<=offset )(\d+)([smh])")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600}


class Scraper:
    """Scrapes each instance, by the name that it has in Prometheus and its port."""

    def __init__(self, ports: dict[str, int]) -> None:
        self._ports = ports
        self._began = time.monotonic()
        #: For each instance its answers by the number of the interval in which they were asked for; None: no answer.
        self.answers: dict[str, dict[int, str | None]] = {name: {} for name in ports}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Scrape for the length of the block."""
        async with httpx.AsyncClient(timeout=3 * SCRAPE_SECONDS) as client:
            tasks = [asyncio.create_task(self._scrape(client, name, port)) for name, port in self._ports.items()]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _scrape(self, client: httpx.AsyncClient, name: str, port: int) -> None:
        while True:
            at = time.monotonic() - self._began
            number = round(at / SCRAPE_SECONDS)
            try:
                text: str | None = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
            except httpx.TransportError:
                text = None
            self.answers[name][number] = text
            spent = time.monotonic() - self._began - at
            await asyncio.sleep(max(SCRAPE_SECONDS - spent, SCRAPE_SECONDS / 4))

    def last(self, metric: str, instance: str = "a") -> float:
        """The sum of that metric's samples at that instance's last answer."""
        texts = [text for text in self.answers[instance].values() if text is not None]
        return sum(float(value) for name, _, value in _SAMPLE.findall(texts[-1]) if name == metric)

    def series(self, metrics: Iterable[str]) -> dict[str, list[str]]:
        """Each series of those metrics and `up`, in promtool's notation: a value, `_` or `stale` for each interval."""
        wanted = {*metrics}
        length = max((number for answers in self.answers.values() for number in answers), default=0) + 1
        found: dict[str, list[str]] = {}
        for instance, answers in self.answers.items():
            up = found.setdefault(f'up{{job="waitroom", instance="{instance}"}}', ["_"] * length)
            for number, text in answers.items():
                up[number] = "0" if text is None else "1"
                for name, labels, value in _SAMPLE.findall(text or ""):
                    if name in wanted:
                        more = f", {labels}" if labels else ""
                        key = f'{name}{{job="waitroom", instance="{instance}"{more}}}'
                        found.setdefault(key, ["_"] * length)[number] = value
                if text is None:
                    # Prometheus holds a series to have ended where its target does not answer.
                    for key, values in found.items():
                        if f'instance="{instance}"' in key and not key.startswith("up"):
                            values[number] = "stale"
        return found


def hastened(rules: dict[str, Any], faster: float) -> dict[str, Any]:
    """The shipped rules with every duration shortened."""

    def shorter(number: str, unit: str) -> str:
        return f"{round(int(number) * _UNITS[unit] / faster * 1000)}ms"

    for group in rules["groups"]:
        for rule in group["rules"]:
            rule["expr"] = _DURATION.sub(
                lambda found: shorter(found[1] or found[3], found[2] or found[4]), rule["expr"]
            )
            if "for" in rule:
                rule["for"] = shorter(rule["for"][:-1], rule["for"][-1])
    return rules


def fired(scraper: Scraper, alerts: Iterable[str], folder: Path, *, faster: float = FASTER) -> list[str]:
    """Those of the alerts that fired at some time of the run, in the order given."""
    program = machine.program("promtool", package="prometheus")
    rules = hastened(yaml.safe_load(ALERTS.read_text(encoding="utf-8")), faster)
    metrics = {name for group in rules["groups"] for rule in group["rules"] for name in _NAME.findall(rule["expr"])}
    series = scraper.series(metrics)
    length = max(len(values) for values in series.values())
    (folder / "rules.yml").write_text(json.dumps(rules))

    def all_fired(*wanted: str) -> bool:
        (folder / "test.yml").write_text(json.dumps(_test(series, length, wanted)))
        done = subprocess.run([program, "test", "rules", str(folder / "test.yml")], capture_output=True, text=True)
        if done.returncode and "got:" not in done.stdout + done.stderr:
            raise AssertionError(done.stdout + done.stderr)
        return done.returncode == 0

    alerts = list(alerts)
    # One look at all of them is enough where nothing is wrong.
    return alerts if not alerts or all_fired(*alerts) else [alert for alert in alerts if all_fired(alert)]


def _test(series: dict[str, list[str]], length: int, alerts: Sequence[str]) -> dict[str, Any]:
    """One of promtool's tests: each of these alerts fired at some time."""
    interval = round(SCRAPE_SECONDS * 1000)
    window = interval * (length + 1)
    named = f'ALERTS{{alertstate="firing", alertname=~"{"|".join(alerts)}"}}'
    expression = f"count(group by (alertname) (max_over_time({named}[{window}ms])))"
    return {
        "rule_files": ["rules.yml"],
        "evaluation_interval": f"{interval}ms",
        "tests": [
            {
                "interval": f"{interval}ms",
                "input_series": [{"series": key, "values": " ".join(values)} for key, values in series.items()],
                "promql_expr_test": [
                    {
                        "expr": expression,
                        "eval_time": f"{interval * length}ms",
                        "exp_samples": [{"labels": "{}", "value": len(alerts)}],
                    }
                ],
            }
        ],
    }
