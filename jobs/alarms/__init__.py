"""Alarms: conditions that people on duty must know of, evaluated from rows and time."""
