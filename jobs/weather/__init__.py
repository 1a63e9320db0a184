"""Temperatures: files of them are read, checked line by line, and imported."""
