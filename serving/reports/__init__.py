"""Reports of VENs over time: samples of their loads, and acknowledgements of commands."""
