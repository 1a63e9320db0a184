"""Pure functions, frame in, frame out: no SQL, no clock, no logging."""
