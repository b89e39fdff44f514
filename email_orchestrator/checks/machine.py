"""This machine: the settings, who may read their secrets, the time zone, the disk."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterator
from dataclasses import fields
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path

from ..core.phone import mask
from ..settings import SECRETS, Settings
from .finding import Finding, Grade

# A key that the phone app makes up by itself has eight characters, which somebody with time can guess.
KEY_LENGTH = 32
# How much alike two names are (difflib), of which one is probably the other misspelt; short ones often are by chance.
ALIKE = 0.88
LONG_ENOUGH = 6
_NAME = re.compile(r"^\s*(?:export\s+)?([A-Z][A-Z0-9_]*)\s*=", re.MULTILINE)
LITTLE_SPACE = 300 * 2**20
NO_SPACE = 30 * 2**20


def look(settings: Settings, env_file: Path | None) -> Iterator[Finding]:
    """Look at what needs nobody else."""
    yield Finding("Settings", Grade.OK, f"all {len(fields(settings))} are valid")
    yield from _misspelt(env_file or Path(".env"))
    yield from _secrets(settings, env_file or Path(".env"))
    yield from _phone_number(settings)
    yield _time_zone(settings)
    yield _disk(settings)
    yield from _log_file(settings)


def _misspelt(env_file: Path) -> Iterator[Finding]:
    """Look for names that are nearly a setting's: what they say counts for nothing, and nothing else tells."""
    ours = {setting.name.upper() for setting in fields(Settings)}
    lines = env_file.read_text(encoding="utf-8", errors="replace") if env_file.is_file() else ""
    for name in sorted({*_NAME.findall(lines), *os.environ} - ours):
        meant = get_close_matches(name, ours, n=1, cutoff=ALIKE) if len(name) >= LONG_ENOUGH else []
        if meant:
            says = f"{name} is set, and there is no such setting"
            yield Finding("Settings", Grade.WARNING, says, f"Write {meant[0]} if that was meant.")


def _secrets(settings: Settings, env_file: Path) -> Iterator[Finding]:
    others = stat.S_IRWXO & env_file.stat().st_mode if env_file.is_file() else 0
    if others and any(f"{name}=" in env_file.read_text(encoding="utf-8", errors="replace") for name in SECRETS):
        mend = f"Run `chmod o= {env_file}`, and change the passwords if strangers work on this machine."
        yield Finding("Secrets", Grade.WARNING, f"every user of this machine may open {env_file}", mend)
    if any(len(key) < KEY_LENGTH for key in settings.sms_webhook_signing_key):
        says = f"SMS_WEBHOOK_SIGNING_KEY is shorter than {KEY_LENGTH} characters"
        yield Finding("Signing key", Grade.WARNING, says, "Set a long random one here and in the phone app.")


def _phone_number(settings: Settings) -> Iterator[Finding]:
    import phonenumbers

    number = phonenumbers.parse(settings.your_phone_number)
    if not phonenumbers.is_valid_number(number):
        says = f"no network gives out YOUR_PHONE_NUMBER ({mask(settings.your_phone_number)})"
        yield Finding("Phone number", Grade.WARNING, says, "Look at its digits; --send-test-sms shows if it works.")


def _time_zone(settings: Settings) -> Finding:
    zone = settings.timezone
    now = f"{datetime.now(zone):%H:%M}"
    if settings.quiet_hours is None:
        return Finding("Time zone", Grade.OK, f"{zone}, where it is {now}; no quiet hours")
    start, end = settings.quiet_hours
    says = f"{zone}, where it is {now}; quiet hours {start:%H:%M}-{end:%H:%M}"
    if zone.key.removeprefix("Etc/") == "UTC":
        return Finding("Time zone", Grade.WARNING, says, "Set TIMEZONE to yours, such as Europe/Vienna.")
    return Finding("Time zone", Grade.OK, says)


def _disk(settings: Settings) -> Finding:
    """Look at the fullest of the disks that we write to."""
    folders = [Path.cwd()]
    folders += [settings.log_file.parent] if settings.log_file else []
    folders += [] if settings.dsn else [settings.data_dir]
    free, place = min((shutil.disk_usage(place).free, str(place)) for place in map(_existing, folders))
    says = f"{free / 2**20:,.0f} MB free at {place}"
    if free >= LITTLE_SPACE:
        return Finding("Disk", Grade.OK, says)
    return Finding("Disk", Grade.FAILED if free < NO_SPACE else Grade.WARNING, says, "Make room.")


def _existing(folder: Path) -> Path:
    """Return the folder, or the one above it where it will be made."""
    return next(part for part in (folder.absolute(), *folder.absolute().parents) if part.exists())


def _log_file(settings: Settings) -> Iterator[Finding]:
    if settings.log_file is None:
        return
    place = settings.log_file if settings.log_file.exists() else settings.log_file.parent
    if not os.access(place, os.W_OK):
        says = f"LOG_FILE={settings.log_file} cannot be written by user {os.geteuid()}"
        yield Finding("Log", Grade.WRONG, says, "Make its folder, and let the service's user write there.")
