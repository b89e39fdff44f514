"""Sent Mail on a real IMAP server: Dovecot, started here on loopback with a folder of its own."""

from __future__ import annotations

import getpass
import grp
import imaplib
import os
import pwd
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from email_orchestrator.clients.sent_mail import SentMail
from email_orchestrator.errors import Kind, ServiceError

DOVECOT = shutil.which("dovecot", path=os.defpath + ":/usr/sbin:/usr/local/sbin")
CERTIFICATE = Path(__file__).parents[1] / "support" / "loopback.pem"
USER, PASSWORD = "ann@example.com", 'pass "word" \\ with blanks'

pytestmark = pytest.mark.skipif(DOVECOT is None, reason="dovecot is not installed (Debian: dovecot-imapd)")

CONFIGURATION = """
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
protocols = imap
listen = 127.0.0.1
ssl = yes
ssl_cert = <{certificate}
ssl_key = <{certificate}
disable_plaintext_auth = no
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
mail_location = maildir:{folder}/mail
first_valid_uid = 1
auth_failure_delay = 0
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {folder}/users
}}
userdb {{
  driver = static
  args = uid={user} gid={group} home={folder}/home
}}
namespace inbox {{
  inbox = yes
  separator = /
  {mailboxes}
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {plain_port}
  }}
  inet_listener imaps {{
    port = {tls_port}
  }}
}}
service anvil {{
  chroot =
}}
"""


@dataclass(frozen=True, slots=True)
class Server:
    """Where a running Dovecot listens."""

    plain_port: int
    tls_port: int

    def append(self, mailbox: str, message_id: str) -> None:
        """File a message as a mail program would."""
        connection = imaplib.IMAP4("127.0.0.1", self.plain_port, timeout=10)
        connection.authenticate("PLAIN", lambda _: f"\0{USER}\0{PASSWORD}".encode())
        message = f"Message-ID: {message_id}\r\nSubject: hello\r\n\r\nhello\r\n".encode()
        status, said = connection.append(mailbox, "", imaplib.Time2Internaldate(time.time()), message)
        connection.logout()
        assert status == "OK", said


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def dovecot(mailboxes: str) -> Iterator[Server]:
    """Run Dovecot with these mailboxes; as root, its processes belong to nobody."""
    owner = pwd.getpwnam("nobody" if os.geteuid() == 0 else getpass.getuser())
    folder = Path(tempfile.mkdtemp(prefix="email-orchestrator-dovecot-"))
    process = None
    try:
        folder.chmod(0o755)
        server = Server(free_port(), free_port())
        certificate = shutil.copy(CERTIFICATE, folder)
        configuration = CONFIGURATION.format(
            folder=folder,
            certificate=certificate,
            user=owner.pw_name,
            group=grp.getgrgid(owner.pw_gid).gr_name,
            mailboxes=mailboxes,
            plain_port=server.plain_port,
            tls_port=server.tls_port,
        )
        (folder / "users").write_text(f"{USER}:{{PLAIN}}{PASSWORD}\n")
        (folder / "dovecot.conf").write_text(configuration)
        for name in ("mail", "home"):
            (folder / name).mkdir()
        if os.geteuid() == 0:
            for path in folder.iterdir():
                os.chown(path, owner.pw_uid, owner.pw_gid)
        assert DOVECOT is not None
        process = subprocess.Popen([DOVECOT, "-F", "-c", folder / "dovecot.conf"], stderr=subprocess.PIPE)
        wait_until_it_listens(process, server, folder / "log")
        yield server
    finally:
        if process is not None:
            process.terminate()
            process.communicate(timeout=10)
        shutil.rmtree(folder, ignore_errors=True)


def wait_until_it_listens(process: subprocess.Popen[bytes], server: Server, log: Path) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", server.tls_port), 1):
            return
        try:
            _, said = process.communicate(timeout=0.05)
        except subprocess.TimeoutExpired:
            continue
        pytest.fail(f"dovecot ended: {said.decode()} {log.read_text() if log.exists() else ''}")
    pytest.fail("dovecot did not listen within 10 s")


@pytest.fixture(scope="module")
def french() -> Iterator[Server]:
    """A server whose Sent mailbox has a French name, beside one that is only called Sent."""
    with dovecot(
        'mailbox "Messages envoyés" {\n special_use = \\Sent\n auto = create\n }\nmailbox Sent {\n auto = create\n }'
    ) as server:
        yield server


def sent_mail(server: Server, password: str = PASSWORD) -> SentMail:
    context = ssl.create_default_context(cafile=CERTIFICATE)
    return SentMail("127.0.0.1", server.tls_port, USER, password, context, 10.0)


def test_the_mailbox_marked_as_sent_is_found_whatever_its_name(french: Server) -> None:
    assert sent_mail(french).check() == "Messages envoyés"


def test_only_exactly_the_message_that_was_filed_is_found(french: Server) -> None:
    look = sent_mail(french)
    for message_id in ("<eo.7.1@example.com>", "<eo.8.1.x@example.com>", '<odd"quote\\and/more@[10.0.0.1]>'):
        assert look.was_sent(message_id) is False
        french.append('"Messages envoy&AOk-s"', message_id)
        assert look.was_sent(message_id) is True
    french.append("Sent", "<elsewhere@example.com>")
    french.append("INBOX", "<eo.9.1@example.com>")
    for message_id in ("<eo.9.1@example.com>", "<elsewhere@example.com>", "<eo.8.1@example.com>", "<7.1@example.com>"):
        assert look.was_sent(message_id) is False


def test_looking_changes_nothing(french: Server) -> None:
    french.append('"Messages envoy&AOk-s"', "<unseen@example.com>")
    assert sent_mail(french).was_sent("<unseen@example.com>")
    connection = imaplib.IMAP4("127.0.0.1", french.plain_port, timeout=10)
    connection.authenticate("PLAIN", lambda _: f"\0{USER}\0{PASSWORD}".encode())
    connection.select('"Messages envoy&AOk-s"', readonly=True)
    assert connection.uid("SEARCH", "HEADER", "Message-ID", "unseen", "SEEN") == ("OK", [b""])
    connection.logout()


def test_on_this_machine_it_also_works_in_the_clear(french: Server) -> None:
    french.append('"Messages envoy&AOk-s"', "<clear@example.com>")
    assert SentMail("127.0.0.1", french.plain_port, USER, PASSWORD).was_sent("<clear@example.com>")


def test_a_refused_password_is_said_and_is_not_an_answer(french: Server) -> None:
    with pytest.raises(ServiceError, match=r"[Aa]uthentication") as caught:
        sent_mail(french, "wrong").was_sent("<eo.7.1@example.com>")
    assert caught.value.kind is Kind.TRANSIENT
    assert "wrong" not in str(caught.value)


def test_a_certificate_nobody_vouches_for_is_no_answer(french: Server) -> None:
    strict = SentMail("127.0.0.1", french.tls_port, USER, PASSWORD, ssl.create_default_context())
    with pytest.raises(ServiceError, match="TLS certificate"):
        strict.was_sent("<eo.7.1@example.com>")


def test_without_a_mark_the_usual_name_serves_and_without_either_nothing_can_be_told() -> None:
    with dovecot("mailbox Sent {\n auto = create\n }") as server:
        server.append("Sent", "<eo.7.1@example.com>")
        assert sent_mail(server).check() == "Sent"
        assert sent_mail(server).was_sent("<eo.7.1@example.com>")
    with dovecot("mailbox Drafts {\n auto = create\n }") as server, pytest.raises(ServiceError, match="no mailbox"):
        sent_mail(server).was_sent("<eo.7.1@example.com>")
