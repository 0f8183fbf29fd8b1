"""Comparison: methods of one recipe, run alike and put into one table."""
