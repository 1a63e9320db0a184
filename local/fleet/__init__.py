"""A simulated fleet of VENs: homes that report by the contract and shed during events.

Each message is a pure function of (seed, VEN, device time, events), without hidden state. So a backfill and
the live fleet agree, and a report sent again is the same, byte for byte.
"""
