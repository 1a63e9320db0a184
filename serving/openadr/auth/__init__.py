"""Who calls: clients with their scopes, tokens of ours and of an outside issuer."""
