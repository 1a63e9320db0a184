"""SQL of storage: partitions, retention, quotas, the archive."""
