"""What homes report, as messages of the contract; with the disturbances of real meters."""
