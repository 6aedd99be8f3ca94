"""The report as one HTML page that needs nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_WIDTH: Final = 720
_HEIGHT: Final = 140


def page(document: Mapping[str, Any]) -> str:
    """The page of a report's document."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.globals["line"] = line
    return environment.get_template("page.html").render(report=document, width=_WIDTH, height=_HEIGHT)


def line(seconds: Sequence[Mapping[str, float]], field: str, highest: float) -> str:
    """A field of every second as the points of an SVG line; `highest` is the top of the drawing."""
    last = max((second["at"] for second in seconds), default=0) or 1
    x: Callable[[float], float] = lambda at: at / last * _WIDTH  # noqa: E731 - two of a kind
    y: Callable[[float], float] = lambda value: _HEIGHT - min(value / (highest or 1), 1) * _HEIGHT  # noqa: E731
    return " ".join(f"{x(second['at']):.1f},{y(second[field]):.1f}" for second in seconds)
