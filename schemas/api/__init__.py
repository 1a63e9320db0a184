"""Types of the HTTP API, one noun per file: shapes, units, and descriptions for the OpenAPI document."""
