"""What VENs would use without an event: days that are alike, and what each baseline makes of them. Pure."""
