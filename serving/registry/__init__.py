"""What operators maintain: VENs, loads, groups, opt-outs, credentials; and the resulting commands."""
