"""Several processes that decode and store the messages of one subscription: decision 0057.

`pool` and `writer` belong to the process that receives, `source` to one that stores; `wire` is between them.
"""
