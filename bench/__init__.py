"""Measures the product on this machine, beside the raw drivers and its peers. Not shipped, imported by nothing."""
