"""Demand response events: their rules, their progress, and what they delivered."""
