"""The audit of a study's data before training: counts, leaks, and what a shortcut could use."""
