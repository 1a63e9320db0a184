"""Imports many VENs from CSV, and exports the registry in the same form."""
