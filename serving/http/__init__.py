"""HTTP without our domain: parameters, bodies, responses, media types, errors, logs, OpenAPI."""
