"""Writes to the database: batches, quotas, rejected messages."""
