"""Runs a private PostgreSQL server for the demo, the tests, and installations without a database server."""

from .errors import (
    EmbeddedPostgresError,
    FolderInUseError,
    ProgramsMissingError,
    UnreachableError,
    WrongVersionError,
)
from .programs import find_binaries
from .server import EmbeddedPostgres, find_running

__all__ = [
    "EmbeddedPostgres",
    "EmbeddedPostgresError",
    "FolderInUseError",
    "ProgramsMissingError",
    "UnreachableError",
    "WrongVersionError",
    "find_binaries",
    "find_running",
]
