"""Webhooks, sent from the outbox that triggers fill."""
