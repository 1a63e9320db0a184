"""A resource is a noun: parse parameters, ask, answer."""
