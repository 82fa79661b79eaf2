"""Patched FLANNEL: chest radiographs, patches that vote, and learners that are weighed."""

__version__ = "0.1.0"
