"""Histories: which buckets serve a request, their queries, and their points."""
