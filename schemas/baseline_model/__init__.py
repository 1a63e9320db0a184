"""Predicts what VENs would use without an event: similar days, and the baselines computed from them. Pure."""
