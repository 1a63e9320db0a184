"""Lists of events that many clients poll: from copies in memory that all clients share."""
