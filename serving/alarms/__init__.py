"""Alarms: listed and acknowledged; the jobs raise and clear them."""
