"""Clients of others: how VENs and user interfaces in the field behave, for tests against a running stack."""
