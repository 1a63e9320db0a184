"""The shapes of everything that crosses a border: messages, tables, frames, responses, settings."""
