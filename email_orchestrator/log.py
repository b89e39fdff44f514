"""The log: plain lines for a person or one JSON object a line for a log shipper; secrets and numbers never get in."""

from __future__ import annotations

import json
import logging
import logging.handlers
import re
import sys
import textwrap
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

SERVICE = "email-auto-reply"
# A secret this short is taken out only where it stands as a word: `root` as a password must not blank `rooted`.
SHORT = 5
# An international number, in one piece or in groups; the longest has fifteen digits (E.164).
_PHONE = re.compile(r"\+[1-9](?:[ ().-]{0,2}\d){3,14}(?!\d)")
_ADDRESS = re.compile(r"""([^\s@<>()\[\],;:"'])[^\s@<>()\[\],;:"']{0,63}@([\w-]+\.[\w.-]+)""")
# What a terminal obeys, what ends a line, what turns the direction of the text around, and what is no character.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]",
)


def set_up_logging(level: str, style: str, file: Path | None, secrets: Iterable[str]) -> None:
    """Send the log to standard error, or to `file`, in the given style (text or json), without the given secrets.

    A file that logrotate moved away is opened anew at the next line. Raises OSError when the file cannot be written.
    """
    handler = logging.StreamHandler(sys.stderr) if file is None else _File(file, encoding="utf-8")
    handler.setFormatter(_JsonFormatter(secrets) if style == "json" else _TextFormatter(secrets))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for chatty in ("urllib3", "schedule", "waitress", "mailparser_reply"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLogger().level))


def mask(text: str, secrets: Iterable[str] = ()) -> str:
    """Take secrets out of a text, and all of phone numbers and addresses but what helps to recognise one's own."""
    return _mask(text, _pattern(secrets))


def _pattern(secrets: Iterable[str]) -> re.Pattern[str] | None:
    """Return a pattern that finds any of the secrets, the longest first, or None when there are none."""
    ordered = sorted({secret for secret in secrets if secret}, key=len, reverse=True)
    words = [rf"(?<!\w){re.escape(word)}(?!\w)" if len(word) <= SHORT else re.escape(word) for word in ordered]
    return re.compile("|".join(words)) if words else None


def _mask(text: str, secrets: re.Pattern[str] | None) -> str:
    if secrets is not None:
        text = secrets.sub("***", text)
    text = _PHONE.sub(lambda match: f"+…{match[0][-2:]}", text)
    return _ADDRESS.sub(r"\1***@\2", text)


class _File(logging.handlers.WatchedFileHandler):
    """A log file; while it cannot be written, the log goes to standard error instead, and nobody stumbles over it."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except OSError:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        if isinstance(sys.exc_info()[1], OSError):
            print(self.format(record), file=sys.stderr)
        else:
            super().handleError(record)


class _Formatter(logging.Formatter):
    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__()
        self._secrets = _pattern(secrets)

    def clean(self, text: str) -> str:
        """Mask a text and write its control characters, all but tab and line feed, as Python writes them."""
        return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), _mask(text, self._secrets))

    def trace(self, record: logging.LogRecord) -> str:
        return self.clean(self.formatException(record.exc_info)) if record.exc_info else ""


class _TextFormatter(_Formatter):
    """One line; a traceback follows on indented lines, so that nothing in it can pass for a line of the log."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        message = self.clean(record.getMessage()).replace("\n", "\\n")
        trace = textwrap.indent(self.trace(record), "    ", lambda _: True)
        return f"{at} {record.levelname:<7} {message}" + (f"\n{trace}" if trace else "")


class _JsonFormatter(_Formatter):
    """One object a line, its keys named as the Elastic Common Schema names them (ECS 8)."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "@timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "log.level": record.levelname.lower(),
            "message": self.clean(record.getMessage()),
            "ecs.version": "8.11.0",
            "service.name": SERVICE,
            "log.logger": record.name,
            "process.thread.name": record.threadName,
        }
        fields: dict[str, object] = getattr(record, "fields", {})
        if "action" in fields:
            entry["event.action"] = fields["action"]
        entry |= {f"orchestrator.{key}": self._plain(value) for key, value in fields.items() if key != "action"}
        if record.exc_info and record.exc_info[0]:
            entry["error.type"] = record.exc_info[0].__name__
            entry["error.stack_trace"] = self.trace(record)
        return json.dumps(entry, ensure_ascii=False)

    def _plain(self, value: object) -> object:
        return value if value is None or isinstance(value, bool | int | float) else self.clean(str(value))
