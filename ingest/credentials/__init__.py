"""Credentials of VENs: from the outbox in the database to the broker's plugin dynamic-security."""
