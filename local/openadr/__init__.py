"""Simulated homes that join by OpenADR 3.1, and the utility that enrols them.

The homes are those of `local.fleet`: only requests to them and their reports are translated here.
"""
