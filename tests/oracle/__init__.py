"""What the whole system is held against: the contract as a plain loop, and traffic to feed both."""
