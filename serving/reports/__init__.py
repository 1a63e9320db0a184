"""What VENs have reported over time: samples of their loads, and acknowledgements of commands."""
