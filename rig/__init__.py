"""Real things, started, watched, struck and stopped: for tests, load tests, campaigns, benchmarks and the cluster.

Nothing here knows what is tested, and nothing here outlives the process that started it.
"""
