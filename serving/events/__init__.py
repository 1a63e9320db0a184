"""Demand response events: their rules, progress, and performance."""
