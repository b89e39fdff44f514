"""The command line: every command a few lines over the workflow's own functions."""

from .main import main

__all__ = ["main"]
