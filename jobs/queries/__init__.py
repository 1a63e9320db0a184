"""All SQL of the jobs, as SQLAlchemy statements over `schemas.tables`; one module for each topic."""
