"""Creates, changes and lists webhooks, which the jobs send."""
