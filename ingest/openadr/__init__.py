"""Reports of OpenADR clients, which serving has accepted: translated, and stored as messages of VENs are."""
