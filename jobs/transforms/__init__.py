"""What the jobs compute, as functions of frames alone."""
