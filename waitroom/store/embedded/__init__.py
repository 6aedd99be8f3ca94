"""The embedded server: a real Valkey or Redis that waitroom starts for itself."""

from __future__ import annotations
