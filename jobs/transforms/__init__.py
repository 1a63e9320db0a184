"""The computations of the jobs, as pure functions of frames."""
