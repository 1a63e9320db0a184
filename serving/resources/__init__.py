"""One noun of the API a file: parse the request, ask a service, answer."""
