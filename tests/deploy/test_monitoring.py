"""Prometheus, its alerts and the dashboard: judged by Prometheus's own tools, and against the metrics there are."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from prometheus_client import REGISTRY
from prometheus_client.core import Metric
from prometheus_client.metrics import MetricWrapperBase

from rig import machine
from rig.instance import Instance, serving
from rig.served import Served
from rig.waiting import PATIENCE_SECONDS, until
from tests.deploy import project
from waitroom.checks.judgement import SKEW_WARN_SECONDS
from waitroom.rooms.registry import Rooms
from waitroom.settings.server import ServerSettings
from waitroom.web.probes import RoomCollector

PROMETHEUS: Final = project.DEPLOY / "prometheus"
GRAFANA: Final = project.DEPLOY / "grafana"
ALERTS: Final = PROMETHEUS / "alerts.yml"
DASHBOARD: Final = GRAFANA / "dashboards" / "waitroom.json"

_SELECTOR: Final = re.compile(r"\b(?P<name>waitroom_[a-z_]+|up|ALERTS)\b(?:\{(?P<labels>[^}]*)\})?")
_LABEL: Final = re.compile(r"([a-z_]+)\s*[=!]~?")
_GROUPED: Final = re.compile(r"\b(?:by|on)\s*\(([^)]*)\)")
#: Labels that Prometheus adds to what it scrapes.
_ADDED_LABELS: Final = frozenset({"job", "instance"})
_PROMETHEUS_OWN: Final = {"up": {"job", "instance"}, "ALERTS": {"alertname", "alertstate"}}


@cache
def metric_labels() -> Mapping[str, frozenset[str]]:
    """The labels of each series of ours that Prometheus sees, by its name."""
    found: dict[str, frozenset[str]] = {}
    for collector in list(REGISTRY._collector_to_names):
        if isinstance(collector, MetricWrapperBase):
            for family in collector.describe():
                found |= _series(family, collector._labelnames)
    for family in RoomCollector(Rooms(None, {})).collect():  # type: ignore[arg-type]  # without rooms none is asked
        found |= _series(family, getattr(family, "_labelnames"))  # noqa: B009 - not in the stubs
    return {name: labels for name, labels in found.items() if name.startswith("waitroom_")}


def _series(family: Metric, labels: Sequence[str]) -> dict[str, frozenset[str]]:
    common = frozenset(labels) | _ADDED_LABELS
    if family.type == "histogram":
        name = family.name
        return {f"{name}_bucket": common | {"le"}, f"{name}_sum": common, f"{name}_count": common}
    return {family.name + ("_total" if family.type == "counter" else ""): common}


def rules() -> dict[str, dict[str, Any]]:
    """The alerting rules by name."""
    (group,) = project.documents(ALERTS)[0]["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def dashboard() -> dict[str, Any]:
    """The dashboard."""
    found: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return found


def panel_expressions() -> dict[str, str]:
    """The dashboard's expressions, by panel and letter."""
    return {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in dashboard()["panels"]
        for target in panel.get("targets", [])
    }


def expressions() -> dict[str, str]:
    """Every expression that is shipped, by where it stands."""
    return {name: rule["expr"] for name, rule in rules().items()} | panel_expressions()


def promtool(*arguments: str) -> str:
    """What promtool says; fails where it is not content."""
    program = machine.program("promtool", package="prometheus")
    done = subprocess.run([program, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize(("place", "expression"), expressions().items(), ids=list(expressions()))
def test_every_metric_and_label_exists(place: str, expression: str) -> None:
    """An expression on a metric that nobody exports never fires and never shows: it is found here."""
    known = dict(metric_labels()) | _PROMETHEUS_OWN
    named: set[str] = set()
    selectors = list(_SELECTOR.finditer(expression))
    assert selectors
    for selector in selectors:
        name = selector["name"]
        assert name in known, f"{place}: no metric {name}"
        unknown = set(_LABEL.findall(selector["labels"] or "")) - known[name]
        assert not unknown, f"{place}: {name} has no label {unknown}"
        named |= known[name]
    for group in _GROUPED.findall(expression):
        assert {label.strip() for label in group.split(",")} <= named, f"{place}: {group}"


def test_prometheus_scrapes_what_there_is(tmp_path: Path) -> None:
    """Job, port and path fit the instances and the alerts; promtool accepts the configuration with its rules."""
    text = (PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8")
    config = yaml.safe_load(text)
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    (discovery,) = jobs["waitroom"]["dns_sd_configs"]
    assert discovery["names"] == ["waitroom"]
    assert discovery["port"] == ServerSettings().port
    assert project.is_answered(jobs["waitroom"]["metrics_path"])
    for place, expression in expressions().items():
        assert set(re.findall(r'job="([^"]*)"', expression)) <= {"waitroom"}, place
    assert config["rule_files"] == [f"/etc/prometheus/{ALERTS.name}"]
    (tmp_path / "prometheus.yml").write_text(text.replace("/etc/prometheus/alerts.yml", str(ALERTS)))
    assert "SUCCESS" in promtool("check", "config", str(tmp_path / "prometheus.yml"))


def test_every_alert_says_what_it_means() -> None:
    """Each rule has a severity, a summary in one sentence, and a description; names begin alike."""
    for name, rule in rules().items():
        assert name.startswith("Waitroom")
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert rule["annotations"].keys() == {"summary", "runbook", "description"}
        assert rule["annotations"]["summary"].endswith(".")
        assert rule["annotations"]["runbook"] == f"docs/how-to/trouble.md#{name.lower()}"


def test_every_alert_has_a_paragraph_for_the_night() -> None:
    """The page for trouble has a heading for each rule, and no other name below its alerts."""
    page = (project.ROOT / "docs" / "how-to" / "trouble.md").read_text(encoding="utf-8")
    assert re.findall(r"^### (\S+)$", page.partition("\n## Alerts\n")[2], re.MULTILINE) == [*rules()]


def test_thresholds_follow_the_program() -> None:
    """Where the program has a limit of its own, the alert has the same."""
    assert rules()["WaitroomClockSkew"]["expr"].endswith(f"> {SKEW_WARN_SECONDS:g}")
    assert rules()["WaitroomSlowRedis"]["expr"].endswith(f"> {ServerSettings().redis_timeout_seconds / 2:g}")


# What fires when. Series are in promtool's notation, "start+step x times", a sample every fifteen seconds.

#: Samples of a series, more than an hour of them.
_SAMPLES: Final = 250

#: A room that is well: some wait, some are inside, three are admitted every fifteen seconds.
HEALTHY: Final = {
    'up{job="waitroom", instance="a"}': "1x{n}",
    'up{job="waitroom", instance="b"}': "1x{n}",
    'waitroom_leader{job="waitroom", instance="a"}': "1x{n}",
    'waitroom_leader{job="waitroom", instance="b"}': "0x{n}",
    'waitroom_waiting{job="waitroom", instance="a", room="shop"}': "50x{n}",
    'waitroom_occupancy{job="waitroom", instance="a", room="shop"}': "100x{n}",
    'waitroom_capacity{job="waitroom", instance="a", room="shop"}': "100x{n}",
    'waitroom_admitted_total{job="waitroom", instance="a", room="shop"}': "0+3x{n}",
    'waitroom_no_show_total{job="waitroom", instance="a", room="shop"}': "0x{n}",
    'waitroom_refused_total{job="waitroom", instance="a", room="shop", reason="full"}': "0x{n}",
    'waitroom_overloaded_total{job="waitroom", instance="a"}': "0x{n}",
    'waitroom_clock_skew_seconds{job="waitroom", instance="a"}': "0.01x{n}",
    'waitroom_script_seconds_bucket{job="waitroom", instance="a", script="enter", le="0.1"}': "0+30x{n}",
    'waitroom_script_seconds_bucket{job="waitroom", instance="a", script="enter", le="0.25"}': "0+30x{n}",
    'waitroom_script_seconds_bucket{job="waitroom", instance="a", script="enter", le="+Inf"}': "0+30x{n}",
    'waitroom_tick_seconds_sum{job="waitroom", instance="a"}': "0+0.15x{n}",
    'waitroom_tick_seconds_count{job="waitroom", instance="a"}': "0+150x{n}",
    'waitroom_eta_within_total{job="waitroom", instance="a", room="shop", within="yes"}': "0+24x{n}",
    'waitroom_eta_within_total{job="waitroom", instance="a", room="shop", within="no"}': "0+3x{n}",
    'waitroom_redis_unfit{job="waitroom", instance="a", fault="memory"}': "0x{n}",
    # Counted once long ago: no reason to say it again.
    'waitroom_recovered_total{job="waitroom", instance="a", room="shop"}': "1x{n}",
    'waitroom_open_passes_total{job="waitroom", instance="a", room="shop"}': "7x{n}",
}

_A: Final = 'job="waitroom", instance="a"'

#: What changes, and the alerts that fire after half an hour because of it.
CASES: Final[dict[str, tuple[dict[str, str | None], set[str]]]] = {
    "all is well": ({}, set()),
    "one instance is gone": ({'up{job="waitroom", instance="b"}': "1x100 0x{n}"}, {"WaitroomInstanceDown"}),
    "nobody answers": (
        {f"up{{{_A}}}": "0x{n}", 'up{job="waitroom", instance="b"}': "0x{n}"},
        {"WaitroomNobodyAnswers", "WaitroomInstanceDown"},
    ),
    "no container is left to be found": (
        {f"up{{{_A}}}": None, 'up{job="waitroom", instance="b"}': None},
        {"WaitroomNobodyAnswers"},
    ),
    "nobody leads": ({f"waitroom_leader{{{_A}}}": "1x100 0x{n}"}, {"WaitroomNoLeader"}),
    "the lead passes on": (
        {f"waitroom_leader{{{_A}}}": "1x119 0x{n}", 'waitroom_leader{job="waitroom", instance="b"}': "0x120 1x{n}"},
        set(),
    ),
    "two lead": ({'waitroom_leader{job="waitroom", instance="b"}': "1x{n}"}, {"WaitroomManyLeaders"}),
    "Redis is away, failures begin with the first": (
        {f'waitroom_script_failures_total{{{_A}, script="lease", failure="Unavailable"}}': "_x113 1+36x{n}"},
        {"WaitroomRedisFails"},
    ),
    "a call failed now and then": (
        {f'waitroom_script_failures_total{{{_A}, script="enter", failure="Unavailable"}}': "0x116 1x{n}"},
        set(),
    ),
    "Redis is full": (
        {f'waitroom_script_failures_total{{{_A}, script="enter", failure="Full"}}': "0x100 0+1x{n}"},
        {"WaitroomRedisFull"},
    ),
    "Redis is not fit": (
        {'waitroom_redis_unfit{job="waitroom", instance="b", fault="eviction"}': "0x100 1x{n}"},
        {"WaitroomRedisUnfit"},
    ),
    "a room's data were lost for the first time": (
        {'waitroom_recovered_total{job="waitroom", instance="b", room="shop"}': "_x116 1x{n}"},
        {"WaitroomDataLost"},
    ),
    "a room's data were lost again": (
        {f'waitroom_recovered_total{{{_A}, room="shop"}}': "1x116 2x{n}"},
        {"WaitroomDataLost"},
    ),
    "visitors go in without Redis": (
        {'waitroom_open_passes_total{job="waitroom", instance="b", room="shop"}': "_x118 1x{n}"},
        {"WaitroomOpenPasses"},
    ),
    "the queue stands still": (
        {
            f'waitroom_occupancy{{{_A}, room="shop"}}': "60x{n}",
            f'waitroom_admitted_total{{{_A}, room="shop"}}': "500x{n}",
        },
        {"WaitroomQueueStuck"},
    ),
    "the queue of an unlimited room stands still": (
        {
            f'waitroom_capacity{{{_A}, room="shop"}}': "0x{n}",
            f'waitroom_admitted_total{{{_A}, room="shop"}}': "500x{n}",
        },
        {"WaitroomQueueStuck"},
    ),
    "full, and nobody leaves for a while": ({f'waitroom_admitted_total{{{_A}, room="shop"}}': "500x{n}"}, set()),
    "the queue grows with places free": (
        {
            f'waitroom_occupancy{{{_A}, room="shop"}}': "60x{n}",
            f'waitroom_waiting{{{_A}, room="shop"}}': "50+6x{n}",
        },
        {"WaitroomQueueGrows"},
    ),
    "the queue grows, the room is full": ({f'waitroom_waiting{{{_A}, room="shop"}}': "50+6x{n}"}, set()),
    "arrivals are turned away": (
        {f'waitroom_refused_total{{{_A}, room="shop", reason="full"}}': "0x113 1+3x{n}"},
        {"WaitroomRefusedFull"},
    ),
    "arrivals at a closed room": (
        {f'waitroom_refused_total{{{_A}, room="shop", reason="closed"}}': "0+1x{n}"},
        set(),
    ),
    "an instance is overloaded": ({f"waitroom_overloaded_total{{{_A}}}": "0+5x{n}"}, {"WaitroomOverloaded"}),
    "a room cannot be served": (
        {f'waitroom_tick_failures_total{{{_A}, task="admit"}}': "_x100 1+150x{n}"},
        {"WaitroomRoomFails"},
    ),
    "a clock is behind": ({f"waitroom_clock_skew_seconds{{{_A}}}": "-3x{n}"}, {"WaitroomClockSkew"}),
    "Redis is slow": (
        {f'waitroom_script_seconds_bucket{{{_A}, script="enter", le="0.1"}}': "0+15x{n}"},
        {"WaitroomSlowRedis"},
    ),
    "rounds are slow": ({f"waitroom_tick_seconds_sum{{{_A}}}": "0+60x{n}"}, {"WaitroomSlowTick"}),
    "offers are not taken up": ({f'waitroom_no_show_total{{{_A}, room="shop"}}': "0+2.1x{n}"}, {"WaitroomNoShows"}),
    "estimates do not hold": (
        {f'waitroom_eta_within_total{{{_A}, room="shop", within="no"}}': "0+24x{n}"},
        {"WaitroomEtaWrong"},
    ),
}

#: The estimate is judged over half an hour and must be wrong for as long.
_EVALUATED: Final = {"estimates do not hold": "61m"}


def scenario(name: str, changes: Mapping[str, str | None], fires: set[str]) -> dict[str, Any]:
    """One of promtool's tests: these series, and exactly these alerts."""
    series = {**HEALTHY, **changes}
    return {
        "name": name,
        "interval": "15s",
        "input_series": [
            {"series": selector, "values": values.replace("{n}", str(_SAMPLES))}
            for selector, values in series.items()
            if values is not None
        ],
        "promql_expr_test": [
            {
                "expr": 'group by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": _EVALUATED.get(name, "30m"),
                "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in sorted(fires)],
            }
        ],
    }


def test_alerts_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    """Each case through Prometheus's own rule engine: exactly the alerts named fire."""
    document = {
        "rule_files": [str(ALERTS)],
        "evaluation_interval": "30s",
        "tests": [scenario(name, changes, fires) for name, (changes, fires) in CASES.items()],
    }
    (tmp_path / "cases.yml").write_text(yaml.safe_dump(document))
    assert "SUCCESS" in promtool("test", "rules", str(tmp_path / "cases.yml"))


def test_every_alert_has_a_case() -> None:
    """No rule is shipped that was never seen to fire."""
    assert set().union(*(fires for _, fires in CASES.values())) == set(rules())


# Grafana.


def test_the_dashboards_expressions_are_sound(tmp_path: Path) -> None:
    """Prometheus's own parser reads each of them."""
    recorded = [
        {"record": f"panel:{number}", "expr": expression.replace("$room", "shop")}
        for number, expression in enumerate(panel_expressions().values())
    ]
    assert recorded
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": recorded}]}))
    promtool("check", "rules", str(file))


def test_the_dashboard_shows_every_metric_once_at_least() -> None:
    """A metric that no panel shows is one that nobody looks at."""
    shown = " ".join(panel_expressions().values())
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in metric_labels()}
    assert [name for name in sorted(families) if name not in shown] == []


def test_grafana_is_provisioned_with_what_the_dashboard_asks_for() -> None:
    """Data source, folder and identifiers fit together."""
    (source,) = project.documents(GRAFANA / "provisioning/datasources/prometheus.yml")[0]["datasources"]
    (provider,) = project.documents(GRAFANA / "provisioning/dashboards/waitroom.yml")[0]["providers"]
    board = dashboard()
    variables = {variable["name"]: variable for variable in board["templating"]["list"]}
    assert variables["datasource"]["query"] == source["type"]
    assert variables["datasource"]["current"]["value"] == source["uid"]
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
    assert {panel["datasource"]["uid"] for panel in board["panels"] if "targets" in panel} == {"${datasource}"}
    identifiers = [panel["id"] for panel in board["panels"]]
    assert len(identifiers) == len(set(identifiers))


# All of it together.


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """A running instance with one room."""
    with serving(tmp_path_factory.mktemp("instance"), rooms={"shop": {"capacity": 1}}) as served:
        yield served


@pytest.mark.system
def test_prometheus_itself_watches_an_instance(instance: Instance, tmp_path: Path) -> None:
    """The shipped configuration, with the instance's address in the place of a name: scraped, and no alert."""
    program = machine.program("prometheus")
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8"))
    job = config["scrape_configs"][0]
    del job["dns_sd_configs"]
    job["static_configs"] = [{"targets": [f"127.0.0.1:{instance.port}"]}]
    config["scrape_configs"] = [job]
    config["global"] = {"scrape_interval": "200ms", "evaluation_interval": "200ms"}
    config["rule_files"] = [str(ALERTS)]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    command = [
        program,
        f"--config.file={tmp_path}/prometheus.yml",
        f"--storage.tsdb.path={tmp_path}/data",
        "--web.listen-address=127.0.0.1:{port}",
    ]
    with Served("prometheus", command, folder=tmp_path, path="/-/ready") as prometheus:
        answer = _awaited(prometheus, 'sum(waitroom_leader{job="waitroom"})')
        assert answer[0]["value"][1] == "1"
        rooms = _awaited(prometheus, 'waitroom_capacity{job="waitroom"}')
        assert rooms[0]["metric"]["room"] == "shop"
        loaded = _asked(prometheus, "/api/v1/rules")["groups"][0]["rules"]
        assert {rule["name"]: rule["health"] for rule in loaded}.keys() == rules().keys()
        assert [rule["name"] for rule in loaded if rule.get("lastError")] == []
        assert [rule["name"] for rule in loaded if rule["state"] == "firing"] == []


def _awaited(prometheus: Served, query: str) -> Any:
    path = f"/api/v1/query?query={urllib.parse.quote(query)}"
    return until(lambda: _asked(prometheus, path)["result"], f"an answer to {query}", despite=OSError)


def _asked(prometheus: Served, path: str) -> Any:
    with urllib.request.urlopen(prometheus.url + path, timeout=PATIENCE_SECONDS) as answer:
        return json.load(answer)["data"]
