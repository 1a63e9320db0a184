"""Homes: usage, generation, behaviour of people, and response to events."""
