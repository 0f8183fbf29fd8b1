"""Objects to simulate: made ones, and volumes out of files."""
