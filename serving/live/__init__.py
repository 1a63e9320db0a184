"""Live streams: the log of changes, and its distribution to clients."""
