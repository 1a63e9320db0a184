"""Publishes commands from the outbox in the database to the VENs."""
