"""What can go wrong with the private PostgreSQL server, each with a sentence that says what to do."""

from __future__ import annotations

from ..errors import OrchestratorError


class EmbeddedPostgresError(OrchestratorError):
    """The private PostgreSQL server could not be started."""


class ProgramsMissingError(EmbeddedPostgresError):
    """PostgreSQL's programs are not installed, or not where they were said to be."""


class UnreachableError(EmbeddedPostgresError):
    """The user the server runs as may not reach a folder it needs."""


class FolderInUseError(EmbeddedPostgresError):
    """Another process runs the database in this folder."""


class WrongVersionError(EmbeddedPostgresError):
    """The data was made by a major version of PostgreSQL whose programs are not at hand."""
