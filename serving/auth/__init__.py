"""Who may call: keys, sessions, roles, rates, origins, proxies, and the audit log."""
