"""The lung masks of a study: predicted, cleaned, measured, or imported from references."""
