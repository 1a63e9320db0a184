"""What operators keep: VENs, loads, groups, opt-outs, credentials; and the outbox of commands that follow."""
