"""Commands to homes, and their answers."""
