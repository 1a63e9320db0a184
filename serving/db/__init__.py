"""Engines, the connection pool, and statements that are built once."""
