"""The log: plain lines for a person or one JSON object a line for a log shipper; secrets and numbers never get in."""

from __future__ import annotations

import json
import logging
import logging.handlers
import re
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

SERVICE = "email-auto-reply"
# Four digits or more after a plus sign are taken for a phone number.
_PHONE = re.compile(r"\+\d{4,15}")
_ADDRESS = re.compile(r"\b([\w.+-])[\w.+-]*@([\w-]+\.[\w.-]+)")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


def set_up_logging(level: str, style: str, file: Path | None, secrets: Iterable[str]) -> None:
    """Send the log to standard error, or to `file`, in the given style (text or json), without the given secrets.

    A file that logrotate moved away is opened anew at the next line.
    """
    handler: logging.Handler
    if file is None:
        handler = logging.StreamHandler(sys.stderr)
    else:
        handler = logging.handlers.WatchedFileHandler(file, encoding="utf-8")
    handler.setFormatter(_JsonFormatter(secrets) if style == "json" else _TextFormatter(secrets))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for chatty in ("urllib3", "schedule", "waitress"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLogger().level))


def mask(text: str, secrets: Iterable[str] = ()) -> str:
    """Take secrets out of a text, and all of phone numbers and addresses but what helps to recognise one's own."""
    for secret in secrets:
        text = text.replace(secret, "***")
    text = _PHONE.sub(lambda match: f"+…{match[0][-2:]}", text)
    return _ADDRESS.sub(r"\1***@\2", text)


class _Formatter(logging.Formatter):
    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__()
        # A secret of three letters would blank half the log.
        self._secrets = sorted({secret for secret in secrets if len(secret) > 5}, key=len, reverse=True)

    def clean(self, text: str) -> str:
        return _CONTROL.sub("�", mask(text, self._secrets))

    def trace(self, record: logging.LogRecord) -> str:
        return self.clean(self.formatException(record.exc_info)) if record.exc_info else ""


class _TextFormatter(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        message = self.clean(record.getMessage()).replace("\n", " ")
        trace = self.trace(record)
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
        entry |= {f"orchestrator.{key}": value for key, value in fields.items() if key != "action"}
        if record.exc_info:
            entry["error.stack_trace"] = self.trace(record)
        return json.dumps(entry, ensure_ascii=False, default=str)
