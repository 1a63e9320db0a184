"""Alarms: conditions that people on duty must know of, evaluated by rows and time."""
