"""Raw files to tables, pixels and pictures."""
