"""The HTTP floor: plain ASGI callables under Starlette's router."""

from __future__ import annotations
