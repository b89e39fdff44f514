"""The reply itself: put together in one way, both when it is approved and when it is sent."""

from __future__ import annotations

from dataclasses import dataclass

from ..core import reply, reply_headers
from ..core.models import Email, Workflow
from ..core.policy import Policy
from ..core.preview import readable_text


@dataclass(frozen=True, slots=True)
class Letter:
    """What the owner approves: to whom, under which subject, which words."""

    recipient: str
    subject: str
    body: str

    @property
    def fingerprint(self) -> str:
        """The hash that ties an approval to exactly this letter."""
        return reply.fingerprint(self.recipient, self.subject, self.body)


def write_letter(workflow: Workflow, email: Email, policy: Policy) -> Letter:
    """Put a workflow's current draft, the signature and, where the owner wants it, the quoted original together."""
    quotation = ""
    if policy.quote_original:
        original = readable_text(email.body_text, email.body_html)
        quotation = reply.quote_original(workflow.sender, email.received_at, original)
    body = reply.reply_body(workflow.draft_text or "", policy.signature, quotation)
    return Letter(workflow.sender, reply_headers.reply_subject(workflow.subject), body)


def build_message(letter: Letter, workflow: Workflow, email: Email, policy: Policy) -> bytes:
    """Make the message that goes to SMTP; raises UnsafeReply when it would not be exactly the letter."""
    return reply.build_reply(
        reply.Reply(
            from_name=policy.from_name,
            from_address=policy.email_address,
            to=letter.recipient,
            subject=letter.subject,
            body=letter.body,
            message_id=workflow.reply_message_id or "",
            date=(workflow.approved_at or workflow.updated_at).astimezone(policy.timezone),
            in_reply_to=email.message_id,
            references=reply_headers.reply_references(email.thread_id, email.in_reply_to, email.message_id),
        )
    )
