"""Any radiograph in, diagnoses out: the command `predict`, the page, and external cohorts."""
