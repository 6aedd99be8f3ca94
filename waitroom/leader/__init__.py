"""The one instance that acts: how it gets and keeps the lease, and what it does while it has it."""

from __future__ import annotations
