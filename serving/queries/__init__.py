"""All of serving's SQL: functions that return a SQLAlchemy `Select`."""
