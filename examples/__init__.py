"""Runnable examples of what waitroom is good for besides websites."""
