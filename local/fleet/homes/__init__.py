"""Homes: what they use and generate, what their people do, how they follow events."""
