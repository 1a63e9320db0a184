"""All of the jobs' SQL, as SQLAlchemy statements over `schemas.tables`; one module a topic."""
