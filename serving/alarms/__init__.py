"""Lists and acknowledges alarms, which the jobs raise and clear."""
