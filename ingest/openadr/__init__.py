"""Translates reports of OpenADR clients that serving has accepted, and stores them like VENs' messages."""
