"""OpenADR 3.1: a VTN over the tables of this service. `routes.py` says what answers where."""
