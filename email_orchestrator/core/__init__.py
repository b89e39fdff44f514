"""Decides: pure functions and values; no input, output, clock or randomness."""
