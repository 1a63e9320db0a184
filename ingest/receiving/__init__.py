"""The broker's side: messages in, acknowledgements out."""
