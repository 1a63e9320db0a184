"""Summary tables to HTTP."""
