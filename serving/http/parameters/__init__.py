"""Parameters of queries and paths: a wrong one becomes a 400 that names the fix."""
