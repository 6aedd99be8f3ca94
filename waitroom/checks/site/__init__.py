"""What may be wrong with a site that a room protects, asked from outside as a visitor's browser would."""

from __future__ import annotations
