"""Access control: keys, sessions, roles, rates, origins, proxies, and the audit log."""
