"""The rules of each noun: who may read and write it, and what follows from a change."""
