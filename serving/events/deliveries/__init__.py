"""What events have delivered, and the baselines by which that is measured."""
