"""What can go wrong with the private PostgreSQL server, each with a sentence that says what to do."""

from __future__ import annotations

from ..errors import OrchestratorError, WrongInstallation


class EmbeddedPostgresError(OrchestratorError):
    """The private PostgreSQL server could not be started."""


class ProgramsMissingError(EmbeddedPostgresError, WrongInstallation):
    """PostgreSQL's programs are not installed, or not where they were said to be."""


class UnreachableError(EmbeddedPostgresError, WrongInstallation):
    """The user the server runs as may not reach a folder it needs."""


class FolderUnusableError(EmbeddedPostgresError, WrongInstallation):
    """The data folder cannot be made, entered or written."""


class FolderInUseError(EmbeddedPostgresError):
    """Another process runs the database in this folder."""


class WrongVersionError(EmbeddedPostgresError, WrongInstallation):
    """The data was made by a major version of PostgreSQL whose programs are not at hand."""
