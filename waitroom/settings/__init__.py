"""What an operator decides: every setting and rule declared once, and where values come from."""

from __future__ import annotations
