"""One noun of the API per file: parse the request, call a service, respond."""
