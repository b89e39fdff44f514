"""The log: plain lines for a person or one JSON object a line for a log shipper; secrets and numbers never get in."""

from __future__ import annotations

import json
import logging
import logging.handlers
import math
import os
import stat
import sys
import textwrap
import threading
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

from .core.masking import Mask, escape_controls
from .errors import OrchestratorError

if TYPE_CHECKING:
    from sys import UnraisableHookArgs
    from threading import ExceptHookArgs

SERVICE = "email-auto-reply"
UNCAUGHT = {"fields": {"action": "uncaught"}}

log = logging.getLogger(__name__)


def set_up_logging(level: str, style: str, file: Path | None, secrets: Iterable[str], phone_number: str = "") -> None:
    """Send the log to standard error, or to `file`, in the given style (text or json).

    Masked in it are the given secrets, addresses, international numbers, and the owner's `phone_number` (E.164) however
    it is written. A file that logrotate moved away is opened anew at the next line. Libraries say no more than warnings
    at any level: their chatter may hold anything. Raises OSError when the file cannot be written.
    """
    handler = logging.StreamHandler(sys.stderr) if file is None else _File(file, encoding="utf-8")
    mask = Mask(secrets, phone_number)
    handler.setFormatter(_JsonFormatter(mask) if style == "json" else _TextFormatter(mask))
    handler.addFilter(_ours_or_trouble)
    logging.basicConfig(level=level, handlers=[handler], force=True)


def log_what_nobody_catches() -> None:
    """Send to the log what Python would print to standard error: warnings, and errors that nobody is there to catch."""
    logging.captureWarnings(True)
    threading.excepthook = _thread_ended_by
    sys.unraisablehook = _passed_over


def log_the_end(error: Exception) -> None:
    """Log the error that ends the process: a foreseen one as its sentence, any other with where it came from."""
    foreseen = isinstance(error, OrchestratorError)
    message = str(error) if foreseen else "ended by an error"
    log.critical("%s", message, exc_info=None if foreseen else error, extra={"fields": {"action": "ended"}})


def _ours_or_trouble(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING or record.name.partition(".")[0] == __package__


def _thread_ended_by(caught: ExceptHookArgs) -> None:
    if not issubclass(caught.exc_type, SystemExit):
        name = caught.thread.name if caught.thread else "unknown"
        error = caught.exc_value or caught.exc_type()
        log.critical("the thread %s ended by an error", name, exc_info=error, extra=UNCAUGHT)


def _passed_over(caught: UnraisableHookArgs) -> None:
    error = caught.exc_value or caught.exc_type()
    log.error("an error that could not be raised", exc_info=error, extra=UNCAUGHT)


class _File(logging.handlers.WatchedFileHandler):
    """A log file; while it cannot be written, the log goes to standard error instead, and nobody stumbles over it."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except OSError:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        if isinstance(sys.exc_info()[1], OSError):
            self._drop()
            with suppress(OSError):
                print(self.format(record), file=sys.stderr)
        else:
            super().handleError(record)

    def _drop(self) -> None:
        """Let go of a file that could not be written, and of what is stuck on the way to it."""
        stream, self.stream = self.stream, None
        if stream is not None:
            with suppress(OSError):
                stream.close()

    def _open(self) -> TextIOWrapper:
        """Open the file; a line that a full disk or a crash cut off is ended, so that the next begins its own."""
        stream = super()._open()
        with suppress(OSError):
            now = os.fstat(stream.fileno())
            if stat.S_ISREG(now.st_mode) and now.st_size:
                with Path(self.baseFilename).open("rb") as written:
                    written.seek(-1, os.SEEK_END)
                    if written.read() != b"\n":
                        stream.write("\n")
        return stream


class _Formatter(logging.Formatter):
    def __init__(self, mask: Mask) -> None:
        super().__init__()
        self._mask = mask

    def clean(self, text: str) -> str:
        """Mask a text and write its control characters, all but tab and line feed, as Python writes them."""
        return escape_controls(self._mask(text))

    def words(self, record: logging.LogRecord) -> str:
        """Return the message; one whose values do not fit is no reason to lose it, or to print them."""
        try:
            return self.clean(record.getMessage())
        except Exception:  # noqa: BLE001 - whatever a value's own text raises
            return self.clean(f"{record.msg} (its values do not fit)")

    def trace(self, record: logging.LogRecord) -> str:
        return self.clean(self.formatException(record.exc_info)) if record.exc_info else ""


class _TextFormatter(_Formatter):
    """One line; a traceback follows on indented lines, so that nothing in it can pass for a line of the log."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        message = self.words(record).replace("\n", "\\n")
        trace = textwrap.indent(self.trace(record), "    ", lambda _: True)
        return f"{at} {record.levelname:<7} {message}" + (f"\n{trace}" if trace else "")


class _JsonFormatter(_Formatter):
    """One object a line, its keys named as the Elastic Common Schema names them (ECS 8)."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "@timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "log.level": record.levelname.lower(),
            "message": self.words(record),
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
            entry["error.message"] = self.clean(str(record.exc_info[1]))
            entry["error.stack_trace"] = self.trace(record)
        return json.dumps(entry, ensure_ascii=False)

    def _plain(self, value: object) -> object:
        # JSON knows no NaN and no infinity (RFC 8259, section 6).
        known = value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value))
        return value if known else self.clean(str(value))
