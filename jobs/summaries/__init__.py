"""From raw rows to summary tables: the two lanes, and recomputing a range."""
