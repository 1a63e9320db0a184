"""The HTTP API over the summary tables."""
