"""Commands to VENs: the outbox, and what became of each command."""
