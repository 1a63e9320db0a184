"""Bytes of a topic to rows, or to a refusal that says why."""
