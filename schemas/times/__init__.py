"""Instants, ranges, local days and slots."""
