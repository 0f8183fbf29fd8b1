"""Volumes: reading, resampling, comparing and drawing them."""
