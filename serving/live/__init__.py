"""Live streams: the change log, and its distribution to clients."""
