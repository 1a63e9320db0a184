"""Commands to VENs: the outbox, and the status of each command."""
