"""Implicit neural representations: a volume as a grid of features and a small network, per scan."""
