"""VENs and loads: the registry, the latest values, and the totals."""
