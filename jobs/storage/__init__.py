"""The raw tables' partitions, and letting go of what is old."""
