"""Decodes bytes of a topic to rows, or rejects them with a reason."""
