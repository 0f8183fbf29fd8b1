"""Measurements: simulated, or prepared from what scanners and collections store."""
