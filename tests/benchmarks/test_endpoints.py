"""How rounds become a row."""

from __future__ import annotations

from benchmarks import endpoints
from benchmarks.wrk import Load


def _load(per_second: float, cpu_us: dict[str, float], *, bad: int = 0) -> Load:
    return Load(1_000, per_second, p50_ms=1.0, p99_ms=2.0, bad=bad, cpu_us=cpu_us)


def test_a_row_is_medians_and_ratios_within_rounds() -> None:
    loads = {
        "bare": [_load(per_second, {"bare uvicorn": 20.0}) for per_second in (50_000.0, 40_000.0, 20_000.0)],
        "enter": [
            _load(20_000.0, {"waitroom": 50.0, "redis": 5.0}),
            _load(20_000.0, {"waitroom": 40.0, "redis": 5.0}, bad=1),
            _load(8_000.0, {"waitroom": 80.0, "redis": 9.0}),
        ],
    }
    row = endpoints._row("enter", loads, 300_000, 256)
    assert (row["per_second"], row["bare_per_second"]) == (20_000, 40_000)
    assert (row["ratio"], row["ratio_spread"]) == (0.4, [0.4, 0.5])
    assert row["cpu_ratio"] == 0.4
    assert (row["server_us"], row["redis_us"], row["nginx_us"], row["bare_us"]) == (50, 5, 0, 20)
    assert (row["bad"], row["rounds"]) == (1, 3)


def test_what_passes_nginx_has_no_ratio_of_cpu_time() -> None:
    loads = {
        "bare": [_load(1.0, {"bare uvicorn": 20.0})],
        "nginx_public": [_load(1.0, {"waitroom": 0.0, "nginx": 9.0})],
    }
    row = endpoints._row("nginx_public", loads, 0, 16)
    assert (row["cpu_ratio"], row["nginx_us"]) == (None, 9)
