"""Reconstruction of whole volumes in two stages, in memory or on disk."""
