"""Types of the HTTP API, one noun a file: shapes, units, and what the OpenAPI document says of them."""
