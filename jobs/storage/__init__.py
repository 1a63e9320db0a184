"""The raw tables' partitions, and retention."""
