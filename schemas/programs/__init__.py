"""What all programs share: settings, logs, exit codes, health."""
