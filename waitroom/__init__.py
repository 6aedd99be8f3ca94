"""waitroom: a self-hosted virtual waiting room."""

from __future__ import annotations

__version__ = "0.1.0"
