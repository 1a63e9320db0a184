"""Registering many VENs at once from CSV, and writing the registry in the same form."""
