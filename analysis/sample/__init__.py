"""A fleet to learn on: 36 homes over fifteen hot days of July 2026, with mishaps, and one event at the end.

    $ python -m analysis.sample

loads it into a PostgreSQL of its own, always the same, by the way that real messages take: ingest's decoding
and store, then the jobs. Only the broker and the clock are played.
"""

from analysis.sample.counterfactual import counterfactual

__all__ = ["counterfactual"]
