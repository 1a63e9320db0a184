"""VENs and loads: identifiers, what they publish, their current values."""
