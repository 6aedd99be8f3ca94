"""The folder of a run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from benchmarks import folder

ENDPOINT = {
    "endpoint": "enter",
    "waiting": 300_000,
    "connections": 256,
    "per_second": 12_000.0,
    "ratio": 0.41,
    "ratio_spread": [0.4, 0.42],
    "server_us": 70.0,
    "redis_us": 5.0,
    "nginx_us": 0.0,
    "origin_us": 0.0,
    "bare_us": 20.0,
}
SCRIPT = {"script": "enter", "waiting": 1_000, "batch": 1, "script_us": 30.0, "longest_cpu_ms": 0.1}
REPORTS: dict[str, dict[str, Any]] = {
    "endpoints": {"rows": [ENDPOINT, ENDPOINT | {"connections": 64}]},
    "scripts": {"rows": [SCRIPT, SCRIPT | {"batch": 64, "script_us": 3.0}]},
    "webservers": {"rows": [{"server": "uvicorn", "asked": "enter", "per_second": 12_000.0}]},
    "fairness": {
        "rows": [
            {"scenario": "steady", "silent": 0.3, "arrival_within": 0.9, "look_within": 0.95},
            {"scenario": "all of these", "silent": None, "arrival_within": 0.9, "look_within": 0.95},
        ]
    },
    "profile": {"rows": [{"asked": "enter", "part": "Starlette", "percent": 10.0, "us": 7.0}]},
}


def test_a_report_is_kept_as_it_is(tmp_path: Path) -> None:
    document = {"name": "scripts", "stamp": {"machine": "m"}, "rows": [{"script": "enter", "script_us": 2.5}]}
    for kept in (document | {"rows": []}, {"name": "a"}, document):
        folder.keep(tmp_path / "new", kept)
    assert folder.kept(tmp_path / "new") == {"a": {"name": "a"}, "scripts": document}


def test_the_page_shows_everything_and_links_what_there_is(tmp_path: Path) -> None:
    (tmp_path / "profile-enter.svg").write_text("<svg/>")
    page = re.sub(" +", " ", folder.write_page(tmp_path, REPORTS).read_text(encoding="utf-8"))
    assert page.index("## Budgets") < page.index("## endpoints") < page.index("## profile")
    assert "| enter, beside bare uvicorn | ≥ 0.4 x | ≥ 0.55 x | 0.41 x | 0.4 to 0.42 | bar |" in page
    assert "[profile-enter.svg](profile-enter.svg)" in page
    pictures = {path.name for path in tmp_path.glob("*.svg")} - {"profile-enter.svg"}
    assert pictures == {
        *("endpoints-ratio.svg", "endpoints-waiting.svg", "endpoints-cpu.svg"),
        *("scripts-batch.svg", "scripts-length.svg", "webservers.svg", "profile.svg", "fairness.svg"),
    }
    assert all(f"![{name}]({name})" in page for name in pictures)
    # Nothing is loaded from elsewhere.
    for path in tmp_path.glob("*.svg"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\bsrc=|href=|@import|url\(", text), path.name


def test_without_figures_there_are_no_plots(tmp_path: Path) -> None:
    page = folder.write_page(tmp_path, {})
    assert "not measured" in page.read_text(encoding="utf-8")
    assert list(tmp_path.glob("*.svg")) == []
