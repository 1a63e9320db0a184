"""MQTT 3.1.1 and 5 as far as a subscriber needs them, built for many messages a second.

`packets` is bytes in and out, without a socket; `link` is the socket; `connection` speaks with the broker.
"""
