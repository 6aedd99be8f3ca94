"""A report says what came of a run, in all three forms, and that it failed where it did."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

from loadtest.report import REPLACED, write
from tests.loadtest.outcomes import bad, outcome


class Cells(HTMLParser):
    """The texts of a page, tag by tag; everything that it would fetch."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.fetched: list[str] = []
        self.feed(page)

    def handle_data(self, data: str) -> None:
        """Keep a text."""
        self.texts.append(data.strip())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep an address."""
        self.fetched += [f"{tag} {value}" for name, value in attrs if name in ("src", "href")]


def test_a_good_run(tmp_path: Path) -> None:
    """Figures per endpoint and the verdict, in text, JSON and HTML; the page needs nothing from elsewhere."""
    write([outcome(cpu_us={"waitroom 1": 98.7})], {"machine": "a <machine>"}, tmp_path)
    text = (tmp_path / "report.txt").read_text(encoding="utf-8")
    assert "Verdict: PASS" in text
    assert "waitroom 1 98.7" in text
    document = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert document["verdict"] == "pass"
    assert {each["name"] for each in document["runs"][0]["endpoints"]} == {"status", "gate", "leave", "all"}
    page = Cells((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert page.fetched == []
    assert {"crowd:", "pass", "p99 ms", "gate"} <= set(page.texts)
    assert any("a <machine>" in each for each in page.texts)


def test_a_run_that_failed(tmp_path: Path) -> None:
    """Each form says so, and what the fault is."""
    write([bad()], {}, tmp_path)
    text = (tmp_path / "report.txt").read_text(encoding="utf-8")
    assert "Verdict: FAIL" in text
    assert "<b> (patient): enter: 500" in text
    document = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert document["verdict"] == "fail"
    failed = [check for check in document["runs"][0]["checks"] if not check["holds"]]
    assert [check["number_of_faults"] for check in failed] == [1, 1]
    page = Cells((tmp_path / "report.html").read_text(encoding="utf-8"))
    (said,) = failed[0]["faults"]
    assert said.startswith("<b> (patient): enter: 500;")
    assert {"fail", said} <= set(page.texts)


def test_beside_the_replaced_system(tmp_path: Path) -> None:
    """The capacity run prints both side by side, by the same figures."""
    write([outcome("capacity")], {}, tmp_path)
    both = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["beside_the_replaced_system"]
    assert both["replaced"] == dict(REPLACED)
    assert list(both["waitroom"]) == list(REPLACED)
    assert "4,320" in (tmp_path / "report.txt").read_text(encoding="utf-8")
    write([replace(outcome("capacity"), more={"changed": "rate 500"})], {}, tmp_path)
    assert "4,320" not in (tmp_path / "report.txt").read_text(encoding="utf-8")
    assert "beside_the_replaced_system" not in (tmp_path / "report.json").read_text(encoding="utf-8")


def test_an_extrapolation_says_that_it_is_one(tmp_path: Path) -> None:
    """Runs on several numbers of instances are followed by what more of them would take."""
    costs = {"waitroom 1": 100.0, "nginx": 20.0, "redis": 10.0}
    write([outcome("scale", cpu_us=costs), outcome("scale", instances=2, cpu_us=costs)], {}, tmp_path)
    for form in ("report.txt", "report.html"):
        text = (tmp_path / form).read_text(encoding="utf-8")
        assert "xtrapolated, not measured" in text
        assert "Redis, which runs one script at a time" in text
