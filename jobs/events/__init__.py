"""Demand-response events: their life, what VENs do of them, what they delivered."""
