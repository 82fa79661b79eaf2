"""Studies of what was trained: how many patches it takes, and where networks look."""
