"""From raw rows to summary tables: the two lanes, and computing a range anew."""
