"""Foldline over HTTP."""
