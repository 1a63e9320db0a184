"""Sends webhooks from the outbox that triggers fill."""
