"""The routes of OpenADR: one noun a file; parse, ask, answer."""
