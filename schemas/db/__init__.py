"""Connections, locks, the ledger and notifications: how programs meet in the database."""
