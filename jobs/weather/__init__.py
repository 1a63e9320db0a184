"""Imports temperatures from files, checked line by line."""
