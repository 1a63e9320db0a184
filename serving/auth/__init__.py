"""Access control: keys, sessions, roles, rate limits, origins, proxies, and the audit log."""
