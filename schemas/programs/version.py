"""The version of Gridgate; the build reads it from here."""

VERSION = "0.1.0"
