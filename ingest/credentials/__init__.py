"""Applies VENs' credentials from the outbox in the database to the broker's plugin dynamic-security."""
