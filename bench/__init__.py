"""Measures the real daemon against the limits of the machine it runs on: `python -m bench`."""
