"""What the leader does, one file for each duty, all of the shape that `task` gives. The scheduler has the table."""

from __future__ import annotations
