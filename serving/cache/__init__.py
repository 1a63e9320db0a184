"""Responses that every client polls, kept as bytes until the database notifies a change."""
