"""The outside world on one machine: PostgreSQL, a broker, a simulated fleet, and the three programs."""
