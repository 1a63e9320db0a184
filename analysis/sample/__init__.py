"""A sample to learn on: 36 homes over fifteen hot days of July 2026, with faults, and one event at the end.

    $ python -m analysis.sample

loads it, always the same, into a PostgreSQL of its own, through the code for real messages: ingest's decoding
and store, then the jobs. Only the broker and the clock are simulated.
"""

from analysis.sample.counterfactual import counterfactual

__all__ = ["counterfactual"]
