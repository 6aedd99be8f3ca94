"""The randomised campaign: faults drawn from a seed, a crowd that bears them, and what must hold all the same."""
