"""Adapters: operators of other libraries in, factors out to other libraries."""
