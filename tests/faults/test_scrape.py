"""Alerts are found to fire, and not to fire: a verdict that hears every alert proves nothing."""

from __future__ import annotations

from pathlib import Path

from tests.faults.scrape import Scraper, fired


def test_alerts_fire_on_what_was_scraped_only(tmp_path: Path) -> None:
    """Of an instance that stops answering and one that goes on: the alert on the one, none on what did not happen."""
    scraper = Scraper({"a": 1, "b": 2})
    scraper.answers["a"] = dict.fromkeys(range(60), "waitroom_leader 1.0\n")
    scraper.answers["b"] = {number: None if number > 20 else "waitroom_leader 0.0\n" for number in range(60)}
    alerts = ["WaitroomNobodyAnswers", "WaitroomInstanceDown", "WaitroomNoLeader", "WaitroomManyLeaders"]
    assert fired(scraper, alerts, tmp_path) == ["WaitroomInstanceDown"]
