"""Rules of events that jobs and serving share."""
