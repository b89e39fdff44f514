"""Which user the server runs as: PostgreSQL refuses to be root."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import EmbeddedPostgresError, UnreachableError


@dataclass(frozen=True, slots=True)
class Account:
    """The user the server runs as; `switch` says that it is another one than ours, which only root can do."""

    name: str
    uid: int
    gid: int
    switch: bool

    def as_arguments(self) -> dict[str, Any]:
        """Return the arguments that make `subprocess` run a program as this user, none when it is ours."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.switch else {}


def choose_account(data: Path) -> Account:
    """Choose who runs the server: we do, or, when we are root, the owner of the data, or `nobody` for new data.

    Raises EmbeddedPostgresError when the data belongs to somebody else, or root finds no user `nobody`.
    """
    owner = data.stat().st_uid if data.exists() else None
    us = os.geteuid()
    if us != 0:
        if owner not in (None, us):
            raise EmbeddedPostgresError(
                f"The database in {data} belongs to {_name(owner)}. Start the program as that user, "
                "or hand the folder over with chown -R."
            )
        return Account(_name(us), us, os.getegid(), switch=False)
    try:
        entry = pwd.getpwuid(owner) if owner else pwd.getpwnam("nobody")
    except KeyError as error:
        raise EmbeddedPostgresError(
            "PostgreSQL refuses to run as root and there is no user for it. Add a user 'nobody', "
            "or start the program as an ordinary user."
        ) from error
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, switch=True)


def prepare_folder(folder: Path, account: Account) -> None:
    """Make the folder if it is missing, and let a server that runs as another user pass through it.

    Only the folder itself and what is made on the way to it get that permission (to pass, not to look around); folders
    that were there before are left as they are. Raises UnreachableError when one of those is closed.
    """
    missing = [part for part in folder.parents if not part.exists()]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not account.switch:
        return
    for part in (folder, *missing):
        if not _may_pass(part, account):
            part.chmod(part.stat().st_mode | 0o011)
    for part in (folder, *folder.parents):
        if not _may_pass(part, account):
            raise UnreachableError(
                f"PostgreSQL runs as user {account.name}, who may not enter {part}. Choose a data folder outside it "
                "(DATA_DIR=/var/lib/email-orchestrator, say), or start the program as an ordinary user."
            )


def may_enter(folder: Path, account: Account) -> bool:
    """Say whether the account may pass through a folder and everything above it, going by owners and permissions."""
    return not account.switch or all(_may_pass(part, account) for part in (folder, *folder.parents))


def _may_pass(folder: Path, account: Account) -> bool:
    status = folder.stat()
    if status.st_uid == account.uid:
        return bool(status.st_mode & 0o100)
    if status.st_gid == account.gid:
        return bool(status.st_mode & 0o010)
    return bool(status.st_mode & 0o001)


def _name(uid: int | None) -> str:
    try:
        return pwd.getpwuid(uid or 0).pw_name
    except KeyError:
        return f"user {uid}"
