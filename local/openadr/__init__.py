"""Simulated homes that join by OpenADR 3.1, and the utility that enrols them.

The homes are those of `local.fleet`: only what they are asked and how they report is translated here.
"""
