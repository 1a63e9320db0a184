"""Reads the latest values of VENs and loads, their totals, and forecasts; never writes them."""
