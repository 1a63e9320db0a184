"""The scheduler: the schedule, and the run of a job with its steps."""
