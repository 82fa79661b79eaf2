"""The comparison of everything that a study has trained: its tables, its figures, its report."""
