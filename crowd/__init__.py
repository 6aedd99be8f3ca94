"""Visitors with habits: what they ask and are told is one history, held against what must be true."""
