"""Email Orchestrator: answers email with drafts the owner approves by text message."""

__version__ = "0.1.0"
