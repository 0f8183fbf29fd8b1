"""Reconstructions to compare with."""
