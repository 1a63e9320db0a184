"""What every program has: settings, logs, exit codes, health."""
