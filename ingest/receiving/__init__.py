"""The connection to the broker: messages in, acknowledgements out."""
