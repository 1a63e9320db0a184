"""Raw rows to summary tables, on a schedule."""
