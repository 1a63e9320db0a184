"""The latest values of VENs and loads, their totals, and forecasts: read, never written."""
