"""Histories: the plan of buckets for a request, their queries, and their points."""
