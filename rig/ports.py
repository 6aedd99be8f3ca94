"""Ports of this machine."""

from __future__ import annotations

from waitroom.demo.processes import free_port

__all__ = ["free_port", "free_ports"]


def free_ports(number: int) -> list[int]:
    """Ports that are free right now, all different; nobody else is given them while this process runs."""
    return [free_port() for _ in range(number)]
