"""Third-party clients: VENs and user interfaces as in the field, for tests against a running stack."""
