"""The shape of everything that crosses a border: wire messages, tables, frames, answers, settings."""
