"""The database's side: batches, quotas, refused messages."""
