from __future__ import annotations

import pytest

from email_orchestrator.core.states import TRANSITIONS, State, check_path, may_follow


def test_every_state_has_its_row_in_the_table_and_can_be_reached() -> None:
    assert set(TRANSITIONS) == set(State)
    assert {after for targets in TRANSITIONS.values() for after in targets} | {State.PENDING} == set(State)


def test_a_sent_or_ignored_workflow_goes_nowhere() -> None:
    assert TRANSITIONS[State.REPLY_SENT] == TRANSITIONS[State.USER_IGNORED] == frozenset()


def test_only_an_approval_leads_to_a_sent_reply() -> None:
    assert [before for before in State if may_follow(before, State.REPLY_SENT)] == [State.USER_APPROVED]


def test_only_a_waiting_draft_or_a_failed_sending_becomes_approved() -> None:
    before = {state for state in State if may_follow(state, State.USER_APPROVED)}
    assert before == {State.AWAITING_USER, State.FAILED}


def test_every_state_that_waits_for_a_machine_can_fail_and_none_that_waits_for_a_person() -> None:
    failing = {state for state in State if may_follow(state, State.FAILED)}
    assert failing == {
        State.PENDING,
        State.AI_GENERATING,
        State.AI_GENERATED,
        State.SMS_SENDING,
        State.SMS_SENT,
        State.USER_APPROVED,
        State.USER_EDIT_REQUESTED,
    }


def test_a_path_is_checked_at_every_step() -> None:
    check_path(State.AI_GENERATING, (State.AI_GENERATED, State.SMS_SENDING))
    with pytest.raises(ValueError, match="from sms_sending to reply_sent"):
        check_path(State.AI_GENERATING, (State.AI_GENERATED, State.SMS_SENDING, State.REPLY_SENT))
