"""Computes summary tables from raw rows: the two lanes, and the recomputation of a range."""
