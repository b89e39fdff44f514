"""Takes away, one at a time, the guards that keep mail from being lost, doubled or sent unapproved: a test must go red.

    python tests/guards.py [WORD ...]        all of them, or those whose names hold one of the words

Each guard is cut out of a copy of the project, and the tests that should miss it run there. Exits 1 when a test run
stays green, or when a guard is no longer where it is looked for.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[1]
AT_ONCE = 2
SECONDS = 300
TESTS_FAILED = 1  # pytest's exit code

QUERIES = "email_orchestrator/store/queries.sql"
REPLYING = "email_orchestrator/workflow/replying.py"
MEANING = "email_orchestrator/workflow/meaning.py"
CONVERSATION = "email_orchestrator/workflow/conversation.py"
TEXTING = "email_orchestrator/workflow/texting.py"
SMTP = "email_orchestrator/clients/smtp.py"
DOORS = "email_orchestrator/web/doors.py"
TRANSACTION = "email_orchestrator/store/transaction.py"

MEANINGS = "tests/integration/test_meaning.py"
CLAIMS = "tests/integration/test_claims.py"
REPLIES = "tests/integration/test_replying.py"
TEXTS = "tests/integration/test_texting.py"
TALKS = "tests/integration/test_conversation.py"
OVERTAKEN = "tests/integration/test_overtaken_texts.py"
BELT = "tests/integration/test_belt.py"
SCHEMAS = "tests/integration/test_schema.py"
WEBHOOK = "tests/integration/web/test_web_webhook.py"
CONNECTIONS = "tests/integration/test_connection.py"
LOST = "tests/integration/test_lost_commits.py"
IN_TIME = "tests/integration/test_said_in_time.py"


@dataclass(frozen=True, slots=True)
class Guard:
    """A guard: its name, what is replaced by what in which file (in every place it stands), and who should notice."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


GUARDS = (
    Guard(
        "a transaction that was lost halfway is not gone on with",
        TRANSACTION,
        'self._execute(b"; ".join((*self._deferred, statement)))',
        'self._begin(b"; ".join((*self._deferred, statement)))',
        (CONNECTIONS,),
    ),
    Guard(
        "no commit is sent twice",
        TRANSACTION,
        "            self._send(self._deferred.pop())\n",
        '            self._send(b"COMMIT")\n            return\n',
        (CONNECTIONS,),
    ),
    Guard(
        "what leaves the house is on the disk before",
        "email_orchestrator/store/workflows.py",
        '    row = tx.row("claim_replying",',
        '    tx.commit_asynchronously()\n    row = tx.row("claim_replying",',
        (LOST,),
    ),
    Guard(
        "an approval in a shell is on the disk",
        "email_orchestrator/workflow/actions.py",
        "    email = emails.read(tx, workflow.message_id)\n",
        "    tx.commit_asynchronously()\n    email = emails.read(tx, workflow.message_id)\n",
        (LOST,),
    ),
    Guard(
        "compare-and-set on state and revision",
        QUERIES,
        "WHERE w.id = %(id)s AND w.current_state = %(state)s AND w.draft_revision = %(revision)s",
        "WHERE w.id = %(id)s AND (w.current_state = %(state)s OR true)",
        (CLAIMS,),
    ),
    Guard(
        "compare-and-set on the lease",
        QUERIES,
        "AND (%(claim)s::text IS NULL OR w.claimed_by = %(claim)s)",
        "",
        (CLAIMS,),
    ),
    Guard(
        "the table of transitions",
        "email_orchestrator/store/workflows.py",
        "    check_path(workflow.state, path)\n",
        "",
        (CLAIMS,),
    ),
    Guard(
        "the inbox keys",
        "schema.sql",
        "CREATE UNIQUE INDEX IF NOT EXISTS idx_sms_inbox",
        "CREATE INDEX IF NOT EXISTS idx_sms_inbox",
        (BELT,),
    ),
    Guard(
        "the lease of a row",
        QUERIES,
        "AND (w.claimed_until IS NULL OR w.claimed_until < now())",
        "",
        (CLAIMS,),
    ),
    Guard(
        "the lease of a text",
        QUERIES,
        "AND (o.claimed_until IS NULL OR o.claimed_until < now())",
        "",
        (CLAIMS,),
    ),
    Guard("the turn of texts", "email_orchestrator/store/texts.py", '    tx.defer("text_turn")\n', "", (CLAIMS,)),
    Guard(
        "no resend after a crash",
        REPLYING,
        "    if job.claimed.in_doubt:\n",
        "    if False:\n",
        (REPLIES,),
    ),
    Guard(
        "no resend after an unknown outcome",
        REPLYING,
        "        if error.kind is Kind.UNKNOWN:\n",
        "        if False:\n",
        (REPLIES,),
    ),
    Guard(
        "no resend after a fault of our own",
        REPLYING,
        "        # Whatever it was, it may have struck after the message was handed over.\n",
        "        raise\n",
        (REPLIES,),
    ),
    Guard(
        "the attempt is written down before SMTP is spoken to",
        QUERIES,
        "send_started_at = coalesce(w.send_started_at, now())\n",
        "send_started_at = w.send_started_at\n",
        (REPLIES,),
    ),
    Guard(
        "what was approved is what is sent",
        REPLYING,
        "letter.fingerprint == claimed.workflow.approved_hash",
        "True",
        (REPLIES,),
    ),
    Guard(
        "the finished message is read back",
        "email_orchestrator/core/reply.py",
        "    if difference:\n",
        "    if False:\n",
        ("tests/unit/test_reply.py",),
    ),
    Guard(
        "every header is read back",
        "email_orchestrator/core/reply.py",
        "        if not _says(parsed[name], meant):\n",
        "        if False:\n",
        ("tests/unit/test_reply.py",),
    ),
    Guard(
        "nothing is sent once the email was dealt with elsewhere",
        REPLYING,
        "        if claimed.email_status != IN_WORK:\n",
        "        if False:\n",
        (BELT,),
    ),
    Guard(
        "no hand-over after the lease",
        SMTP,
        "            if clock.now() >= give_up_at:\n",
        "            if False:\n",
        ("tests/unit/test_smtp.py",),
    ),
    Guard(
        "a lease that counts from before it is taken",
        REPLYING,
        "mailer.send(desk.policy.email_address, workflow.sender, message, job.until)",
        "mailer.send(desk.policy.email_address, workflow.sender, message, desk.lease_until())",
        (REPLIES,),
    ),
    Guard(
        "silence after the final dot is unknown, not a failure",
        SMTP,
        'raise ServiceError(SERVICE, f"{lost}; it may have been sent", Kind.UNKNOWN) from lost',
        'raise ServiceError(SERVICE, f"{lost}; it may have been sent", Kind.TRANSIENT) from lost',
        ("tests/unit/test_smtp.py",),
    ),
    Guard(
        "a lost QUIT is a success",
        SMTP,
        "    with suppress(Lost):\n        wire.command",
        "    if True:\n        wire.command",
        ("tests/unit/test_smtp.py",),
    ),
    Guard(
        "account trouble pauses all mail",
        QUERIES,
        "AND (s.value ->> 'until')::timestamptz > now()",
        "AND false",
        (REPLIES,),
    ),
    Guard(
        "a reply without a word cannot be approved",
        "email_orchestrator/workflow/actions.py",
        'if not (workflow.draft_text or "").strip():',
        "if False:",
        (SCHEMAS,),
    ),
    Guard(
        "what the first design sent is sent",
        "schema.sql",
        "WHEN reply_sent_at IS NOT NULL THEN 'reply_sent'",
        "WHEN false THEN 'reply_sent'",
        (SCHEMAS,),
    ),
    Guard(
        "an unshown draft cannot be approved",
        CONVERSATION,
        "workflow.state is State.AWAITING_USER and workflow.hidden_chars:\n            raise",
        "False:\n            raise",
        (TALKS,),
    ),
    Guard(
        "an answer from before the draft is none to it",
        MEANING,
        "return workflow.offered_at is not None and not is_earlier(moment, workflow.offered_at)",
        "return workflow.offered_at is not None",
        (TALKS,),
    ),
    Guard(
        "an answer to one draft becomes none to the next by a number",
        MEANING,
        " or not _had(workflow, begun)",
        "",
        ("tests/integration/test_meaning.py",),
    ),
    Guard(
        "an undo in hand counts when the reply is not taken",
        REPLYING,
        "if asked_back and kept:",
        "if False:",
        (REPLIES,),
    ),
    Guard(
        "no reply goes out while a text waits to be acted on",
        QUERIES,
        "WHERE i.processed_at IS NULL AND i.message !~",
        "WHERE false AND i.message !~",
        (IN_TIME,),
    ),
    Guard(
        "no draft is overtaken that the owner may have answered",
        QUERIES,
        "WHERE i.processed_at IS NULL AND (i.waits_for IS NULL OR i.waits_for = w.id))\n ORDER BY n.id",
        "WHERE false)\n ORDER BY n.id",
        (IN_TIME,),
    ),
    Guard(
        "an undo that may mean several gives time to say which",
        CONVERSATION,
        "workflows.put_off(self.tx, approved, TIME_TO_SAY_WHICH)",
        "pass",
        (IN_TIME,),
    ),
    Guard(
        "an old undo takes no newer approval back",
        CONVERSATION,
        "        if meaning.had_a_later_word(workflow, self.said_at):\n",
        "        if False:\n",
        (IN_TIME,),
    ),
    Guard(
        "a timeout by hand is not known before it is told",
        QUERIES,
        " OR e.to_state = 'timeout'\n",
        "\n",
        (IN_TIME,),
    ),
    Guard(
        "what may be out is looked for while mail rests",
        QUERIES,
        "(w.send_started_at IS NOT NULL\n            OR NOT EXISTS",
        "(false\n            OR NOT EXISTS",
        ("tests/integration/test_mail_at_rest.py",),
    ),
    Guard(
        "a reply that was found in Sent Mail ends no rest",
        REPLYING,
        "elif accepted:",
        "else:",
        ("tests/integration/test_mail_at_rest.py",),
    ),
    Guard(
        "an undo that is being recorded is waited for",
        REPLYING,
        "        workflows.hold(tx, workflow.id)\n        asked_back",
        "        asked_back",
        (REPLIES,),
    ),
    Guard(
        "the parts of drafts keep together when the first may be out",
        QUERIES,
        "(b.in_doubt_since IS NOT NULL AND b.kind <> 'answer'",
        "(false AND b.kind <> 'answer'",
        (CLAIMS,),
    ),
    Guard(
        "an unnamed answer needs exactly one draft",
        CONVERSATION,
        "only = [workflow for workflow in offered if meant == {workflow.id} or (not meant and len(offered) == 1)]",
        "only = offered",
        (TALKS,),
    ),
    Guard(
        "only the owner's number",
        "email_orchestrator/workflow/receiving.py",
        "if not is_owner(text.phone_number, desk.policy.phone_number):",
        "if False:",
        (TALKS,),
    ),
    Guard(
        "a webhook is signed",
        DOORS,
        "if not _is_authentic(front, environ, body):",
        "if False:",
        (WEBHOOK,),
    ),
    Guard(
        "a signature is good for five minutes",
        "email_orchestrator/core/signature.py",
        "return abs(now.timestamp() - int(timestamp)) <= TOLERANCE",
        "return True",
        (WEBHOOK,),
    ),
    Guard(
        "what the webhook could not store is to be fetched",
        "email_orchestrator/web/webhook.py",
        "front.not_stored(error)",
        "pass",
        (WEBHOOK,),
    ),
    Guard(
        "what the webhook could not store is fetched at once",
        "email_orchestrator/daemon.py",
        "if house.unread.are_due():",
        "if False:",
        ("tests/acceptance/test_door.py",),
    ),
    Guard(
        "nothing is sent while the owner may have forbidden it",
        REPLYING,
        "    if desk.unread():\n",
        "    if False:\n",
        (REPLIES,),
    ),
    Guard(
        "nothing is closed while the owner may have answered it",
        "email_orchestrator/daemon.py",
        "_after_texts(house, lambda: upkeep.check_timeouts(desk))",
        "lambda: upkeep.check_timeouts(desk)",
        ("tests/acceptance/test_door.py",),
    ),
    Guard(
        "a notice of what is over is not texted",
        QUERIES,
        "WHERE e.workflow_id = c.workflow_id AND e.at > c.created_at)",
        "WHERE false)",
        ("tests/integration/test_nights_and_outages.py",),
    ),
    Guard(
        "what a proxy on this machine passes on is signed",
        DOORS,
        ' and not _is_public_name(environ.get("HTTP_HOST", ""))',
        "",
        (WEBHOOK,),
    ),
    Guard(
        "no web page counts by its address",
        DOORS,
        'if "HTTP_ORIGIN" in environ:',
        "if False:",
        ("tests/unit/test_web_doors.py",),
    ),
    Guard(
        "the API asks for its token",
        DOORS,
        "if given is None or not _same(",
        "if given is None or False and not _same(",
        ("tests/integration/web/test_web_api.py",),
    ),
    Guard(
        "approve and ignore only by the whole message",
        "email_orchestrator/core/commands.py",
        "match = _WHOLE.fullmatch(whole)",
        "match = _WHOLE.match(whole)",
        ("tests/unit/test_commands.py",),
    ),
    Guard(
        "an answer that came before our record of the sending is kept",
        CONVERSATION,
        "if workflow.is_on_its_way and meaning.answers(workflow, self.said_at):",
        "if False:",
        (TEXTS,),
    ),
    Guard(
        "a draft that comes once more is on its way until it is out",
        "email_orchestrator/core/models.py",
        "or (self.state is State.AWAITING_USER and self.timeout_at is None)",
        "",
        ("tests/integration/test_texted_once_more.py",),
    ),
    Guard(
        "what was answered in the evening is not texted in the night",
        QUERIES,
        "                          AND least(i.received_at, i.stored_at) > now() - make_interval(secs => %(fresh)s)",
        "",
        ("tests/integration/test_nights_and_outages.py",),
    ),
    Guard(
        "a text that was withdrawn in the gateway's hand does not count",
        QUERIES,
        "status = CASE WHEN o.status = 'queued' AND o.parts_sent + 1",
        "status = CASE WHEN o.parts_sent + 1",
        ("tests/integration/test_texted_once_more.py",),
    ),
    Guard(
        "a draft that is offered anew counts as handed over by the new text only",
        QUERIES,
        "UPDATE workflow_state SET offered_at = NULL, user_responded_at = greatest(",
        "UPDATE workflow_state SET user_responded_at = greatest(",
        ("tests/integration/test_texted_once_more.py",),
    ),
    Guard(
        "nothing sends a draft that is still to come",
        CONVERSATION,
        "if workflow.is_still_to_come and not (",
        "if False and not (",
        ("tests/integration/test_texted_once_more.py",),
    ),
    Guard(
        "a text that shows less does not make seen what was not",
        QUERIES,
        "CASE WHEN %(anew)s THEN %(hidden)s ELSE",
        "CASE WHEN false THEN %(hidden)s ELSE",
        ("tests/integration/test_texted_once_more.py", "tests/integration/test_conversation.py"),
    ),
    Guard(
        "who approves while mail rests hears of it",
        CONVERSATION,
        "if rest := mail_rests(self.tx, self.desk, workflow, found.pause, due):",
        "if rest := None:",
        ("tests/integration/test_mail_at_rest.py",),
    ),
    Guard(
        "what the Email Monitor decides meanwhile stays",
        QUERIES,
        "FROM taken t WHERE p.message_id = t.message_id AND p.status = 'pending'",
        "FROM taken t WHERE p.message_id = t.message_id",
        (OVERTAKEN,),
    ),
    Guard(
        "a draft that nobody could read is not offered in GSM-7",
        "email_orchestrator/core/notification.py",
        'return style if style.charset != "gsm7" or reads_in_gsm7(draft) else replace(style, charset="unicode")',
        "return style",
        ("tests/unit/test_notification.py",),
    ),
    Guard(
        "a text in doubt is looked up before it goes out again",
        TEXTING,
        "found = text.in_doubt and _went_out(desk, gateway, part, text.attempt_at)",
        "found = False",
        (TEXTS,),
    ),
    Guard(
        "no undo once the reply was handed over",
        "email_orchestrator/workflow/actions.py",
        " or not may_be_taken_back(tx, workflow)",
        "",
        (REPLIES,),
    ),
    Guard(
        "no bare retry of a reply of unknown fate",
        CONVERSATION,
        "(len(failed) != 1 or workflows.may_have_gone_out(self.tx, failed[0].id))",
        "len(failed) != 1",
        (REPLIES,),
    ),
    Guard(
        "no timeout while an answer is unread",
        QUERIES,
        "   AND NOT EXISTS (SELECT FROM sms_inbox i WHERE i.processed_at IS NULL)\n",
        "",
        (TALKS,),
    ),
    Guard(
        "a draft that is gone without the owner's knowing may be meant",
        MEANING,
        " | standing.no_longer_waiting(tx, _second(written))",
        "",
        (MEANINGS,),
    ),
    Guard(
        "a number completes no question asked after it",
        "email_orchestrator/workflow/asking.py",
        'if is_earlier(written, datetime.fromisoformat(question["said_at"])):',
        "if False:",
        (MEANINGS,),
    ),
    Guard(
        "no bare word for what may be out already",
        CONVERSATION,
        "if only and not workflows.may_have_gone_out(self.tx, only[0].id):",
        "if only:",
        (REPLIES,),
    ),
    Guard(
        "an accepted reply counts as sent whoever has the lease",
        "email_orchestrator/workflow/sent.py",
        "path = (State.USER_APPROVED, State.REPLY_SENT) if doubted else (State.REPLY_SENT,)",
        "path = (State.REPLY_SENT,)",
        (REPLIES,),
    ),
    Guard(
        "no text at night",
        TEXTING,
        "    quiet = is_quiet_now(tx, desk)\n",
        "    quiet = False\n",
        (TEXTS,),
    ),
    Guard(
        "what the limit left stays in the window",
        "email_orchestrator/workflow/intake.py",
        "_remember_poll(tx, now, since if len(waiting) == limit else None)",
        "_remember_poll(tx, now, None)",
        (BELT,),
    ),
    Guard(
        "a bad email is taken alone",
        "email_orchestrator/workflow/intake.py",
        "    except DataRefused:\n",
        "    except ZeroDivisionError:\n",
        ("tests/integration/test_poison.py",),
    ),
    Guard(
        "an answer is recorded however long the database is away",
        "email_orchestrator/workflow/desk.py",
        "            if desk.wait(1):\n                raise\n",
        "            raise\n",
        (REPLIES,),
    ),
    Guard(
        "texts from before the first round stay left alone",
        "email_orchestrator/workflow/receiving.py",
        "since = max(since, datetime.fromisoformat(begun))",
        "since = min(since, datetime.fromisoformat(begun))",
        (TALKS, "tests/integration/test_documented_moves.py"),
    ),
    Guard(
        "Ctrl-C lets the reply in hand be finished",
        "email_orchestrator/cli/acting.py",
        "with interruption.asks_first(stop):",
        "if True:",
        ("tests/integration/test_cli_terminal.py",),
    ),
    Guard(
        "a text from before closes nothing that is still on its way to the phone or being rewritten",
        CONVERSATION,
        "if meaning.is_outdated(workflow, self.said_at, self.begun_at):",
        "if workflow.state is State.AWAITING_USER and meaning.is_outdated(workflow, self.said_at):",
        (OVERTAKEN,),
    ),
    Guard(
        "an undo by hand counts for the texts before it",
        "email_orchestrator/workflow/actions.py",
        "said_at=said_at or tx.now,",
        "said_at=said_at,",
        (OVERTAKEN,),
    ),
    Guard(
        "a bare approval is asked about while another draft that may be on the phone is texted again",
        QUERIES,
        "AND o.kind = 'offer' AND o.status = 'failed')",
        "AND false)",
        (OVERTAKEN,),
    ),
    Guard(
        "an older draft is held while a newer email overtakes it",
        QUERIES,
        "   FOR UPDATE OF w\n\n-- name: supersedes",
        "\n-- name: supersedes",
        (OVERTAKEN,),
    ),
    Guard(
        "what may be out stays so, whatever a later attempt came to",
        "email_orchestrator/workflow/desk.py",
        "OUTCOME_UNKNOWN if workflows.may_have_gone_out(tx, workflow.id) else reason",
        "reason",
        (REPLIES,),
    ),
)


def main() -> int:
    """Take the guards away and print what came of it, a line each; returns the exit code."""
    wanted = [guard for guard in GUARDS if not sys.argv[1:] or any(word in guard.name for word in sys.argv[1:])]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        missed = 0
        for guard, red in zip(wanted, pool.map(first_red_test, wanted), strict=True):
            missed += red is None
            print(f"{guard.name}: {red or 'NOBODY NOTICED'}", flush=True)
    print(f"{len(wanted) - missed} of {len(wanted)} guards are missed when they are gone")
    return 1 if missed else 0


def first_red_test(guard: Guard) -> str | None:
    """Run the tests without the guard, up to the first that goes red; returns its name, None when all stay green."""
    with tempfile.TemporaryDirectory(prefix="guards-") as name:
        copy = Path(name)
        copy.chmod(0o755)
        for file in _project_files():
            (copy / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / file, copy / file, follow_symlinks=False)
        text = (copy / guard.file).read_text(encoding="utf-8")
        if guard.old not in text:
            raise SystemExit(f"the guard {guard.name!r} is no longer in {guard.file}: say where it is now")
        (copy / guard.file).write_text(text.replace(guard.old, guard.new), encoding="utf-8")
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider", *guard.tests],
            cwd=copy,
            env=os.environ | {"PYTHONPATH": name},
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    if run.returncode not in (0, TESTS_FAILED):
        raise SystemExit(
            f"the tests could not be run without {guard.name!r}:\n{run.stdout[-3000:]}{run.stderr[-1000:]}"
        )
    red = re.search(r"^FAILED \S*::(.+?)(?: - .*)?$", run.stdout, re.MULTILINE)
    return red[1] if red else None


def _project_files() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [file for file in listed.stdout.splitlines() if (PROJECT / file).exists()]


if __name__ == "__main__":
    sys.exit(main())
