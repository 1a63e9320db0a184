"""Webhooks: made, changed, listed; the jobs send them."""
