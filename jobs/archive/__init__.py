"""Closed days as Parquet: written, verified, completed by late rows."""
