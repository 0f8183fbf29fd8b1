"""Training on patches: samples, steps, plans, runs that resume."""
