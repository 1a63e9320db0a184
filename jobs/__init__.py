"""Computes summary tables from raw rows, on a schedule."""
