import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from email_orchestrator.core.senders import parse_sender, why_skipped

NOBODY: frozenset[str] = frozenset()


def reason(
    sender: str, message_id: str = "<1@example.com>", skip: frozenset[str] = NOBODY, allow: frozenset[str] = NOBODY
) -> str | None:
    return why_skipped(sender, message_id, "owner.name@gmail.com", skip, allow)


@pytest.mark.parametrize(
    ("raw", "parsed"),
    [
        ("joe@example.com", ("", "joe@example.com")),
        ("  joe@example.com\n", ("", "joe@example.com")),
        ("<joe@example.com>", ("", "joe@example.com")),
        ("Joe Doe <joe@example.com>", ("Joe Doe", "joe@example.com")),
        ('"Doe, Joe" <Joe.Doe+x@Example.COM>', ("Doe, Joe", "Joe.Doe+x@Example.COM")),
        ('"Joe \\"the\r\n mailman\\" Doe" <joe@example.com>', ('Joe "the mailman" Doe', "joe@example.com")),
        ('"boss@corp.example" <evil@example.com>', ("boss@corp.example", "evil@example.com")),
        ("Jörg <jörg@exämple.com>", ("Jörg", "jörg@exämple.com")),
        ("o'neil_{x}@a-b.example.co", ("", "o'neil_{x}@a-b.example.co")),
    ],
)
def test_one_address_is_read_with_its_name(raw: str, parsed: tuple[str, str]) -> None:
    assert parse_sender(raw) == parsed


@pytest.mark.parametrize(
    "raw",
    [
        *("", " ", "joe", "@", "joe@", "@example.com", "joe@localhost", "joe@example.", "joe@.example.com", "joe@a..b"),
        *("joe@-a.com", "joe@a-.com", "joe@exa mple.com", "jo e@example.com", ".joe@example.com", "jo..e@example.com"),
        *("joe@1.2.3.4", "joe@[1.2.3.4]", '"joe"@example.com', "a@b@example.com", "joe@exam_ple.com"),
        *("a@example.com, b@example.com", "a@example.com b@example.com", "A <a@example.com>, b@example.com"),
        *("boss@corp.example <evil@example.com>", "Doe, Joe <joe@example.com>", "friends: a@example.com;"),
        *("<<a@example.com>>", "a@example.com>", "A <a@example.com", "<a@example.com> A", 'A" <a@example.com>'),
        *(
            "a@example.com\nBcc: b@example.com",
            "=?utf-8?q?a=40b?=@example.com",
            "a\u202e@example.com",
            "a@example.com?x",
        ),
        *("a" * 65 + "@example.com", "a@" + "b." * 126 + "com", "x" * 300 + "@example.com"),
    ],
)
def test_anything_but_one_plausible_address_is_refused(raw: str) -> None:
    assert parse_sender(raw) is None


@given(st.text(st.characters(exclude_categories=[]), max_size=80))
def test_garbage_is_read_or_refused_but_never_raises(raw: str) -> None:
    for sender in (raw, f"{raw}@example.com", f"{raw} <joe@example.com>", f'"{raw}" <joe@example.com>'):
        parsed = parse_sender(sender)
        assert parsed is None or parsed[1].count("@") == 1


@pytest.mark.parametrize(
    "raw", ["a." * 5_000_000, '"' + "\\" * 1_000_000 + '">', "a@" + "a-" * 1_000_000, " " * 9_999_999 + ">"]
)
def test_a_hostile_sender_costs_no_time(raw: str) -> None:
    started = time.process_time()
    assert parse_sender(raw) is None
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    "local_part",
    [
        *("no-reply", "noreply", "NoReply", "no_reply", "no.reply", "do-not-reply", "donotreply", "do_not_reply"),
        *("mailer-daemon", "MAILER-DAEMON", "mailerdaemon", "postmaster", "bounce", "bounces"),
        *("no-reply+abc", "noreply-marketing", "noreply2", "github-noreply", "ops+noreply", "jira.no-reply"),
        *("bounce-123", "bounces+x=y", "list-bounces", "bounces+123-4f-joe=example.com", "prvs=12=bounce-9"),
    ],
)
def test_machines_are_never_answered(local_part: str) -> None:
    assert reason(f"{local_part}@example.com") == "the sender looks like a machine"


@pytest.mark.parametrize("host", ["noreply.example.com", "no-reply.example.com", "users.noreply.github.com"])
def test_hosts_that_take_no_replies_get_none(host: str) -> None:
    assert reason(f"joe@{host}") == "the sender looks like a machine"


@pytest.mark.parametrize(
    "address",
    [
        *(
            "joe@example.com",
            "reply@example.com",
            "bouncer@example.com",
            "casino-reply@example.com",
            "nina.o@no.reply.com",
        ),
        *("info@example.com", "support@example.com", "joe@postmaster.co.uk", "postmasters-friend@example.com"),
    ],
)
def test_people_are_answered(address: str) -> None:
    assert reason(address) is None


@pytest.mark.parametrize(
    "address",
    [
        "owner.name@gmail.com",
        "Owner.Name@GMAIL.com",
        "owner.name+x@gmail.com",
        "ownername@gmail.com",
        "o.wnername@googlemail.com",
    ],
)
def test_our_own_mailbox_is_never_answered_however_it_is_spelt(address: str) -> None:
    assert reason(address) == "sent from our own address"
    assert reason(address, allow=frozenset({address})) == "sent from our own address"


def test_dots_matter_outside_gmail() -> None:
    assert why_skipped("j.oe@example.com", "<1@x>", "joe@example.com", NOBODY, NOBODY) is None
    assert why_skipped("joe+tag@example.com", "<1@x>", "joe@example.com", NOBODY, NOBODY) == "sent from our own address"


@pytest.mark.parametrize("message_id", ["", " ", "<>", "\n"])
def test_an_email_without_a_message_id_is_never_answered(message_id: str) -> None:
    allow = frozenset({"joe@example.com"})
    assert reason("joe@example.com", message_id, allow=allow) == "the email has no Message-ID"


def test_an_address_that_cannot_be_read_is_never_answered() -> None:
    assert reason("joe at example", allow=frozenset({"joe at example"})) == "the sender's address cannot be read"


@pytest.mark.parametrize(
    "entry", ["joe@example.com", "JOE@Example.com", " joe@example.com ", "@example.com", "@EXAMPLE.com"]
)
def test_skip_senders_adds_people_and_whole_domains(entry: str) -> None:
    assert reason("Joe@example.com", skip=frozenset({entry})) == "the sender is in SKIP_SENDERS"
    assert reason("ann@sub.example.com", skip=frozenset({entry})) is None


@pytest.mark.parametrize("entry", ["noreply@shop.example", "@shop.example", "@SHOP.example"])
def test_allow_senders_overrides_the_machines_and_the_skip_list(entry: str) -> None:
    assert reason("noreply@shop.example", allow=frozenset({entry})) is None
    assert reason("noreply@shop.example", skip=frozenset({"@shop.example"}), allow=frozenset({entry})) is None


@pytest.mark.parametrize("sender", ["jösé@example.com", "joe@straße.de"])
def test_a_sender_no_reply_can_reach_is_skipped_before_anybody_approves_one(sender: str) -> None:
    reason = why_skipped(sender, "<a@b>", "me@example.com", frozenset(), frozenset({sender}))
    assert reason is not None
    assert reason.startswith("no reply can go to the sender's address")
