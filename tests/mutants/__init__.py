"""Mutation testing: small faults put into the code one by one, each of which some test has to notice."""
