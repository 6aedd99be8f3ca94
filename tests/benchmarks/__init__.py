"""Tests of what measures: never of what was measured."""
