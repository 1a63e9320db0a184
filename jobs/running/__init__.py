"""The scheduler: what runs when, one job's run and its steps."""
