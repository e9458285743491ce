"""The one place where the package says which version it is."""

VERSION = "0.1.0"
