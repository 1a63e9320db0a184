"""Event arithmetic: sharing out, participation, performance, settlement. Pure."""
