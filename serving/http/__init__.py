"""HTTP independent of our domain: parameters, bodies, responses, media types, errors, logs, OpenAPI."""
