"""What is signed: keys, tickets, passes, the site's tokens, challenges, and the disguise of addresses."""

from __future__ import annotations
