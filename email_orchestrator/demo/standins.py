"""Stand-ins for the systems around the orchestrator, true to how those behave, for demo, tests and bench."""

from __future__ import annotations

from .standin_gateway import GatewayStandIn, SentMessage, refused
from .standin_generator import DraftAction, DraftRequest, GeneratorStandIn
from .standin_http import Answer
from .standin_mail import CUT, AcceptedMail, MailStandIn
from .standin_monitor import MonitorStandIn

__all__ = [
    "CUT",
    "AcceptedMail",
    "Answer",
    "DraftAction",
    "DraftRequest",
    "GatewayStandIn",
    "GeneratorStandIn",
    "MailStandIn",
    "MonitorStandIn",
    "SentMessage",
    "refused",
]
