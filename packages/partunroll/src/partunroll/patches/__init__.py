"""Patches of a volume: how they tile it, blend, turn, and what A*A is on them."""
