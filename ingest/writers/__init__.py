"""Several processes that decode and store the messages of one subscription (decision 0057).

`pool` and `writer` run in the receiving process, `source` in a writer process; `wire` is their protocol.
"""
