-- Every statement the program runs, by name. `now()` is the moment the transaction began, by the database's clock.
-- A column `now` tells it to `Transaction.now`, and saves it a journey of its own.

-- name: moment
-- The moment alone, for a transaction in which no other statement has told it.
SELECT now() AS now

-- name: commit_asynchronously
-- Have this transaction's commit, and no other, not wait for the disk.
SELECT set_config('synchronous_commit', 'off', true)

-- Intake ------------------------------------------------------------------------------------------------------------

-- name: new_ids
-- Pending emails that no workflow has taken yet, oldest first: those the Email Monitor listed, or all since a moment.
SELECT p.message_id
  FROM processed_emails p
 WHERE p.status = 'pending'
   AND (%(ids)s::text[] IS NULL OR p.message_id = ANY (%(ids)s::text[]))
   AND (%(since)s::timestamptz IS NULL OR p.received_at >= %(since)s)
   AND NOT EXISTS (SELECT FROM workflow_state w WHERE w.message_id = p.message_id)
 ORDER BY p.received_at, p.id
 LIMIT %(limit)s

-- name: newest_email
-- The number of the Email Monitor's newest row; it costs the same however many there are.
SELECT max(id) AS id FROM processed_emails

-- name: new_emails
-- Those of some emails that are still pending and that no workflow has taken, oldest first. PostgreSQL knows times
-- that Python does not.
SELECT p.message_id, left(p.subject, %(subject_limit)s) AS subject, p.from_address,
       greatest(least(p.received_at, '9000-01-01Z'), '1000-01-01Z') AS received_at,
       p.thread_id, p.in_reply_to, left(p.body_text, %(text_limit)s) AS body_text, left(p.body_html, %(html_limit)s) AS body_html,
       now() AS now
  FROM processed_emails p
 WHERE p.status = 'pending' AND p.message_id = ANY (%(ids)s::text[])
   AND NOT EXISTS (SELECT FROM workflow_state w WHERE w.message_id = p.message_id)
 ORDER BY p.received_at, p.id

-- name: older_emails_left_alone
-- How many pending emails are older than what the poll looks at.
SELECT count(*) AS count
  FROM processed_emails p
 WHERE p.status = 'pending' AND p.received_at < %(since)s
   AND NOT EXISTS (SELECT FROM workflow_state w WHERE w.message_id = p.message_id)

-- name: take_emails
-- Take the given emails, in their order; each becomes a workflow with its events, and its email's status follows.
WITH given AS (
    SELECT * FROM jsonb_to_recordset(%(emails)s::jsonb)
        AS g (position int, message_id text, subject text, sender text, sender_name text, preview text, thread_id text,
              state text, reason text)
), taken AS (
    INSERT INTO workflow_state (message_id, email_subject, email_from, sender_name, email_body_preview, thread_id,
                                current_state, previous_state, error_message)
    SELECT g.message_id, g.subject, g.sender, g.sender_name, g.preview, g.thread_id, g.state,
           CASE WHEN g.state <> 'pending' THEN 'pending' END, g.reason
      FROM given g JOIN processed_emails p ON p.message_id = g.message_id AND p.status = 'pending'
     ORDER BY g.position
    ON CONFLICT (message_id) DO NOTHING
    RETURNING id, message_id, current_state
), entered AS (
    INSERT INTO workflow_event (workflow_id, from_state, to_state, reason, actor)
    SELECT e.workflow_id, e.from_state, e.to_state, e.reason, 'poll'
      FROM (SELECT id AS workflow_id, NULL AS from_state, 'pending' AS to_state, NULL AS reason, 1 AS rank FROM taken
            UNION ALL
            SELECT t.id, 'pending', t.current_state, g.reason, 2
              FROM taken t JOIN given g USING (message_id) WHERE t.current_state <> 'pending') e
     ORDER BY e.workflow_id, e.rank
), followed AS (
    UPDATE processed_emails p
       SET status = CASE t.current_state WHEN 'user_ignored' THEN 'ignored' WHEN 'failed' THEN 'failed' ELSE 'orchestrating' END
      FROM taken t WHERE p.message_id = t.message_id AND p.status = 'pending'
)
SELECT t.id, t.message_id, t.current_state AS state FROM taken t ORDER BY t.id

-- name: overtaken
-- Workflows that emails just taken make pointless, being of the same sender and thread and received earlier, unless the
-- owner may have answered them. The array is not seen by the planner, which would otherwise plan anew, and for longer
-- than it looks, for every one that is given.
SELECT n.id AS newer, w.* FROM workflow_state n
  JOIN processed_emails pn ON pn.message_id = n.message_id
  JOIN workflow_state w ON w.thread_id = n.thread_id AND lower(w.email_from) = lower(n.email_from) AND w.id < n.id
  JOIN processed_emails pw ON pw.message_id = w.message_id AND pw.received_at <= pn.received_at
 WHERE n.id = ANY (ARRAY(SELECT unnest(%(ids)s::int[]))) AND n.thread_id <> ''
   AND w.current_state IN ('pending', 'ai_generating', 'ai_generated', 'sms_sending', 'sms_sent', 'awaiting_user',
                           'user_edit_requested')
   AND NOT EXISTS (SELECT FROM sms_inbox i
                    WHERE i.processed_at IS NULL AND (i.waits_for IS NULL OR i.waits_for = w.id))
 ORDER BY n.id, w.id
   FOR UPDATE OF w

-- name: supersedes
-- Remember on a new workflow which older one it closed.
UPDATE workflow_state SET supersedes = %(older)s WHERE id = %(id)s

-- name: replies_to_senders
-- How many replies each of some senders, in lower case, got since a moment; the array as in `overtaken`.
SELECT lower(email_from) AS sender, count(*) AS count FROM workflow_state
 WHERE lower(email_from) = ANY (ARRAY(SELECT unnest(%(senders)s::text[]))) AND reply_sent_at >= %(since)s
 GROUP BY lower(email_from)

-- name: email
-- An email as the Email Monitor holds it now.
SELECT p.message_id, left(p.subject, %(subject_limit)s) AS subject, p.from_address,
       greatest(least(p.received_at, '9000-01-01Z'), '1000-01-01Z') AS received_at,
       p.thread_id, p.in_reply_to, left(p.body_text, %(text_limit)s) AS body_text, left(p.body_html, %(html_limit)s) AS body_html
  FROM processed_emails p WHERE p.message_id = %(message_id)s

-- Moving ------------------------------------------------------------------------------------------------------------

-- name: move
-- Move a workflow along a path of states, if it is still in the state and draft revision it was read in and, where a
-- claim is given, still ours. Writes one event for each state passed, ends the lease, lets the email's status follow;
-- tells whether a text of the owner's waits for the workflow.
WITH moved AS (
    UPDATE workflow_state w
       SET (draft_revision, hidden_chars, ai_reply_text, ai_reply_generated_at, offered_at, sms_sent_at, sms_message_id,
            sms_phone_number, user_command, user_edit_instructions, user_responded_at, edit_iteration, reply_message_id,
            reply_sent_at, approved_at, approved_hash, send_started_at, error_message, retry_count, next_attempt_at, remind_at,
            timeout_at)
         = (SELECT c.draft_revision, c.hidden_chars, c.ai_reply_text, c.ai_reply_generated_at, c.offered_at, c.sms_sent_at,
                   c.sms_message_id, c.sms_phone_number, c.user_command, c.user_edit_instructions, c.user_responded_at,
                   c.edit_iteration, c.reply_message_id, c.reply_sent_at, c.approved_at, c.approved_hash,
                   c.send_started_at, c.error_message, c.retry_count, c.next_attempt_at, c.remind_at, c.timeout_at
              FROM jsonb_populate_record(w, %(changes)s::jsonb) c),
           previous_state = w.current_state,
           current_state = (%(path)s::text[])[array_length(%(path)s::text[], 1)],
           claimed_by = NULL, claimed_until = NULL, updated_at = now()
     WHERE w.id = %(id)s AND w.current_state = %(state)s AND w.draft_revision = %(revision)s
       AND (%(claim)s::text IS NULL OR w.claimed_by = %(claim)s)
    RETURNING w.id, w.message_id
), entered AS (
    INSERT INTO workflow_event (workflow_id, from_state, to_state, reason, actor)
    SELECT m.id, coalesce(lag(s.state) OVER (ORDER BY s.n), %(state)s), s.state,
           CASE WHEN s.n = array_length(%(path)s::text[], 1) THEN %(reason)s END, %(actor)s
      FROM moved m, unnest(%(path)s::text[]) WITH ORDINALITY AS s (state, n)
     ORDER BY s.n
), followed AS (
    UPDATE processed_emails p SET status = %(email_status)s
      FROM moved m
     WHERE p.message_id = m.message_id AND p.status = %(email_status_before)s AND p.status <> %(email_status)s
)
SELECT EXISTS (SELECT FROM sms_inbox i WHERE i.processed_at IS NULL AND i.waits_for = m.id) AS is_awaited, now() AS now
  FROM moved m

-- name: postpone
-- Leave a claimed workflow where it is, end its lease and say when it is due again.
UPDATE workflow_state w
   SET claimed_by = NULL, claimed_until = NULL, updated_at = now(), retry_count = %(attempts)s,
       next_attempt_at = now() + make_interval(secs => %(delay)s), error_message = %(error)s,
       send_started_at = CASE WHEN %(in_doubt)s THEN w.send_started_at END
 WHERE w.id = %(id)s AND w.claimed_by = %(claim)s

-- name: ask_back
-- Write down that the owner wants a reply back that is just being handed over.
UPDATE workflow_state SET user_command = 'undo', user_responded_at = greatest(user_responded_at, %(at)s)
 WHERE id = %(id)s AND current_state = 'user_approved'

-- name: is_asked_back
SELECT id FROM workflow_state WHERE id = %(id)s AND current_state = 'user_approved' AND user_command = 'undo'

-- name: put_off
-- Have approved replies that were not handed to SMTP wait for some seconds more.
UPDATE workflow_state SET next_attempt_at = greatest(next_attempt_at, now() + make_interval(secs => %(delay)s))
 WHERE id = ANY (%(ids)s::int[]) AND current_state = 'user_approved' AND send_started_at IS NULL

-- name: let_go
-- Have an approved reply that a process kept for itself be due for everybody, if no attempt was made and nobody has
-- approved anew.
UPDATE workflow_state SET next_attempt_at = NULL
 WHERE id = %(id)s AND current_state = 'user_approved' AND reply_message_id = %(reply)s AND claimed_by IS NULL
   AND send_started_at IS NULL AND retry_count = 0

-- name: release_claims
-- Give back everything that a process holds; what was in doubt stays in doubt.
WITH texts AS (
    UPDATE sms_outbox SET claimed_by = NULL, claimed_until = now() WHERE starts_with(claimed_by, %(holder)s)
)
UPDATE workflow_state SET claimed_by = NULL, claimed_until = NULL WHERE starts_with(claimed_by, %(holder)s)

-- name: claim_turn
-- Let the claims of drafts follow one another, so that the limit on waiting drafts holds with many workers.
SELECT pg_advisory_xact_lock(7003119)

-- name: claim_drafting
-- Lease the next workflow that needs a draft: edits first, then the oldest; no new one while enough are waiting. Tells
-- whether there is more to do for somebody else.
WITH candidates AS (
    SELECT w.id, w.current_state FROM workflow_state w
     WHERE w.current_state IN ('pending', 'user_edit_requested', 'ai_generating')
       AND (w.claimed_until IS NULL OR w.claimed_until < now())
       AND (w.next_attempt_at IS NULL OR w.next_attempt_at <= now())
       AND (w.current_state <> 'pending'
            OR (SELECT count(*) FROM (SELECT FROM workflow_state o
                 WHERE o.current_state IN ('ai_generating', 'ai_generated', 'sms_sending', 'sms_sent', 'awaiting_user',
                                           'user_edit_requested') LIMIT %(max_awaiting)s) n) < %(max_awaiting)s)
     ORDER BY w.current_state = 'pending', w.id
     LIMIT 2
       FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE workflow_state w
       SET claimed_by = %(claim)s, claimed_until = now() + make_interval(secs => %(lease)s), updated_at = now(),
           previous_state = c.current_state, current_state = 'ai_generating'
      FROM (SELECT * FROM candidates LIMIT 1) c WHERE w.id = c.id
    RETURNING w.*, c.current_state AS claimed_from
), entered AS (
    INSERT INTO workflow_event (workflow_id, from_state, to_state, actor)
    SELECT id, claimed_from, 'ai_generating', 'poll' FROM claimed WHERE claimed_from <> 'ai_generating'
)
SELECT c.*, p.status AS email_status, (SELECT count(*) > 1 FROM candidates) AS more
  FROM claimed c JOIN processed_emails p USING (message_id)

-- name: claim_replying
-- Lease an approved workflow that is due, and write down that its reply is about to be handed to SMTP; none while a text
-- that may take it back, being no older than the approval and no plain answer to a draft by its number, has yet to be
-- acted on, or while mail rests, unless its fate is to be found out. Tells all that the reply is made of.
WITH candidate AS (
    SELECT w.id, w.send_started_at FROM workflow_state w
     WHERE w.current_state = 'user_approved'
       AND (%(id)s::int IS NULL OR w.id = %(id)s)
       AND (w.claimed_until IS NULL OR w.claimed_until < now())
       AND (%(at_once)s OR ((w.next_attempt_at IS NULL OR w.next_attempt_at <= now())
                            AND NOT EXISTS (SELECT FROM sms_inbox i
                                             WHERE i.processed_at IS NULL AND i.message !~ '^\s*[123]\s*#\s*\d+\s*$'
                                               AND least(i.received_at, i.stored_at)
                                                   >= date_trunc('second', coalesce(w.user_responded_at, w.approved_at)))))
       AND (w.send_started_at IS NOT NULL
            OR NOT EXISTS (SELECT FROM service_state s
                            WHERE s.key = 'mail_pause' AND (s.value ->> 'until')::timestamptz > now()))
     ORDER BY w.approved_at, w.id
     LIMIT 1
       FOR UPDATE SKIP LOCKED
)
UPDATE workflow_state w
   SET claimed_by = %(claim)s, claimed_until = now() + make_interval(secs => %(lease)s), updated_at = now(),
       send_started_at = coalesce(w.send_started_at, now())
  FROM candidate c, processed_emails p
 WHERE w.id = c.id AND p.message_id = w.message_id
RETURNING w.*, c.send_started_at IS NOT NULL AS in_doubt, p.status AS email_status,
          left(p.subject, %(subject_limit)s) AS subject, p.from_address,
          greatest(least(p.received_at, '9000-01-01Z'), '1000-01-01Z') AS received_at,
          p.thread_id, p.in_reply_to, left(p.body_text, %(text_limit)s) AS body_text, left(p.body_html, %(html_limit)s) AS body_html

-- Reading -----------------------------------------------------------------------------------------------------------

-- name: workflow_by_id
SELECT w.* FROM workflow_state w WHERE w.id = %(id)s

-- name: workflow_by_message_id
SELECT w.* FROM workflow_state w WHERE w.message_id = %(message_id)s

-- name: lock_workflow
-- A workflow held until the end of the transaction, so that what is decided from it stays true.
SELECT w.*, now() AS now FROM workflow_state w WHERE w.id = %(id)s FOR UPDATE

-- name: text_due
-- The text about a workflow that goes out next, by the rules of `claim_text`.
SELECT o.next_attempt_at, o.error,
       NOT (o.urgent OR o.parts_sent > 0) OR o.created_at <= now() - make_interval(secs => %(fresh)s) AS waits_for_morning
  FROM sms_outbox o
 WHERE o.workflow_id = %(workflow_id)s AND o.status = 'queued' AND o.channel = 'sms'
 ORDER BY o.urgent DESC, o.id
 LIMIT 1

-- name: workflows
-- Workflows for a list: those in a state (all when none is given), newest first.
SELECT w.* FROM workflow_state w
 WHERE %(states)s::text[] IS NULL OR w.current_state = ANY (%(states)s::text[])
 ORDER BY w.id DESC LIMIT %(limit)s

-- name: offered
-- Drafts the owner has, or is just getting: what a text without a number can mean.
SELECT w.* FROM workflow_state w
 WHERE w.current_state = 'awaiting_user' OR (w.current_state = 'sms_sending' AND w.offered_at IS NOT NULL)
 ORDER BY w.id

-- name: waits_no_more
-- Drafts that the owner had when writing, in the second of %(written)s, and that had stopped waiting, or have since,
-- without the owner knowing it then: what the owner had texted by then is known, and so is a timeout or a newer email
-- of which a text, or an email in its place, had told. After some days nobody means them any more. A draft that counts as
-- failed may be on the phone, and so may one that is tried again after that.
SELECT w.id FROM workflow_event e JOIN workflow_state w ON w.id = e.workflow_id
 WHERE e.at >= %(written)s::timestamptz - interval '3 days'
   AND e.to_state IN ('user_approved', 'user_edit_requested', 'user_ignored', 'timeout')
   AND (e.from_state = 'awaiting_user'
        OR (e.from_state = 'sms_sending' AND w.offered_at < %(written)s::timestamptz + interval '1 s'))
   AND CASE WHEN e.actor = 'sms'
                 THEN e.at >= %(written)s AND w.user_responded_at >= %(written)s::timestamptz + interval '1 s'
            WHEN e.actor IN ('poll', 'timer') OR e.to_state = 'timeout'
                 THEN e.at >= %(written)s
                      OR NOT EXISTS (SELECT FROM sms_outbox o
                                      WHERE o.workflow_id = w.id AND o.created_at >= e.at
                                        AND o.sent_at < %(written)s::timestamptz + interval '1 s')
                         AND NOT EXISTS (SELECT FROM workflow_state n
                                          WHERE n.supersedes = w.id
                                            AND (n.offered_at < %(written)s::timestamptz + interval '1 s'
                                                 OR EXISTS (SELECT FROM sms_outbox o
                                                             WHERE o.workflow_id = n.id AND o.kind = 'offer'
                                                               AND o.sent_at < %(written)s::timestamptz + interval '1 s')))
            ELSE e.at >= %(written)s END
UNION
SELECT w.id FROM workflow_state w
 WHERE w.current_state = 'failed' AND w.previous_state = 'sms_sending'
   AND w.offered_at BETWEEN %(written)s::timestamptz - interval '3 days' AND %(written)s::timestamptz + interval '1 s'
UNION
SELECT w.id FROM workflow_state w
 WHERE w.current_state = 'sms_sending' AND w.offered_at IS NULL
   AND EXISTS (SELECT FROM sms_outbox o WHERE o.workflow_id = w.id AND o.revision = w.draft_revision
                  AND o.kind = 'offer' AND o.status = 'failed')

-- name: owner_spoke
-- The owner said something of some drafts, or of all that wait: what was written before it is no answer to them any more.
UPDATE workflow_state SET user_responded_at = greatest(user_responded_at, %(at)s)
 WHERE current_state IN ('awaiting_user', 'sms_sending') AND (%(ids)s::bigint[] IS NULL OR id = ANY (%(ids)s::bigint[]))

-- name: before_approval
-- Whether the rest of a draft was shown to the owner in a later second than this, who had not seen it whole by then,
-- whether an earlier reply may be out, and the pause of all mail, if any.
WITH shown AS (
    SELECT kind = 'more' AS rest, hidden_chars = 0 AS whole,
           sent_at >= date_trunc('second', %(since)s::timestamptz) + interval '1 s' AS later
      FROM sms_outbox
     WHERE workflow_id = %(id)s AND revision = %(revision)s AND status = 'sent' AND channel = 'sms'
       AND sent_at >= coalesce(%(offered)s, sent_at)
)
SELECT EXISTS (SELECT FROM shown WHERE rest AND later) AND NOT EXISTS (SELECT FROM shown WHERE whole AND NOT later)
           AS rest_shown,
       EXISTS (SELECT FROM workflow_event WHERE workflow_id = %(id)s AND reason = %(unknown)s) AS may_be_out,
       (SELECT value FROM service_state WHERE key = 'mail_pause') AS pause

-- name: approved
-- Approved replies, also those that are being handed to SMTP.
SELECT w.* FROM workflow_state w WHERE w.current_state = 'user_approved' ORDER BY w.id

-- name: last_moved
-- The workflow that something happened to last.
SELECT w.* FROM workflow_state w
 WHERE w.id = (SELECT e.workflow_id FROM workflow_event e ORDER BY e.at DESC LIMIT 1)

-- name: failed
SELECT w.* FROM workflow_state w WHERE w.current_state = 'failed' ORDER BY w.id DESC LIMIT 50

-- name: overdue_reminders
-- Drafts that have waited so long that the owner is reminded of them, held until the end of the transaction.
SELECT w.* FROM workflow_state w
 WHERE w.current_state = 'awaiting_user' AND w.remind_at <= now()
 ORDER BY w.id FOR UPDATE SKIP LOCKED

-- name: overdue_timeouts
-- Drafts that have waited for the last time, held until the end of the transaction; none while the owner's texts have
-- yet to be acted on.
SELECT w.* FROM workflow_state w
 WHERE w.current_state = 'awaiting_user' AND w.timeout_at <= now()
   AND NOT EXISTS (SELECT FROM sms_inbox i WHERE i.processed_at IS NULL)
 ORDER BY w.id FOR UPDATE SKIP LOCKED

-- name: reminded
UPDATE workflow_state SET remind_at = NULL, updated_at = now() WHERE id = ANY (%(ids)s)

-- name: stranded_offers
-- Drafts on their way to the owner, for the first time or once more, for which no text is waiting to go.
SELECT w.* FROM workflow_state w
 WHERE w.current_state IN ('sms_sending', 'awaiting_user')
   AND (w.current_state = 'sms_sending' OR w.timeout_at IS NULL)
   AND NOT EXISTS (SELECT FROM sms_outbox o
                    WHERE o.workflow_id = w.id AND o.kind = 'offer' AND o.status = 'queued')
 FOR UPDATE SKIP LOCKED

-- name: events
SELECT from_state, to_state, at, reason, actor FROM workflow_event WHERE workflow_id = %(id)s ORDER BY id

-- name: add_draft
INSERT INTO draft (workflow_id, revision, text, instructions, ai_draft_id, model, tokens)
VALUES (%(workflow_id)s, %(revision)s, %(text)s, %(instructions)s, %(ai_draft_id)s, %(model)s, %(tokens)s)

-- name: drafts
SELECT revision, text, instructions, created_at FROM draft WHERE workflow_id = %(id)s ORDER BY revision

-- name: generated_ids
-- The names that the AI Reply Generator gave to some drafts.
SELECT g.place, d.ai_draft_id
  FROM unnest(%(ids)s::int[], %(revisions)s::int[]) WITH ORDINALITY AS g (workflow_id, revision, place)
  JOIN draft d USING (workflow_id, revision)
 WHERE d.ai_draft_id <> ''

-- Outbox ------------------------------------------------------------------------------------------------------------

-- name: queue_text
INSERT INTO sms_outbox (workflow_id, revision, kind, channel, urgent, parts, hidden_chars)
VALUES (%(workflow_id)s, %(revision)s, %(kind)s, %(channel)s, %(urgent)s, %(parts)s, %(hidden)s)

-- name: withdraw_texts
-- Have nothing that was queued about a draft go out any more, for another text is to offer it; what the gateway has in
-- hand keeps its lease, but does not count. Of a draft on its way to the owner nothing counts as handed over then. Tells
-- when the owner last asked for one of those texts, while that is fresh. Whoever leases or records a text holds it first
-- and then its workflow; here it is the other way round, so nobody is waited for.
WITH closing AS (
    SELECT id FROM sms_outbox
     WHERE workflow_id = %(id)s AND status = 'queued' AND kind IN ('offer', 'more', 'reminder')
       FOR UPDATE SKIP LOCKED
), closed AS (
    UPDATE sms_outbox o SET status = 'unwanted' FROM closing c WHERE o.id = c.id
    RETURNING CASE WHEN o.urgent AND o.created_at > now() - make_interval(secs => %(fresh)s) THEN o.created_at END AS asked_at
), on_its_way AS (
    UPDATE workflow_state SET offered_at = NULL, user_responded_at = greatest(user_responded_at, %(said_at)s)
     WHERE id = %(id)s AND (current_state = 'sms_sending' OR (current_state = 'awaiting_user' AND timeout_at IS NULL))
)
SELECT max(asked_at) AS asked_at FROM closed

-- name: text_turn
-- Let the leases of texts follow one another, so that no two begin at once.
SELECT pg_advisory_xact_lock(7003120)

-- name: claim_text
-- Lease the next text: answers before the rest, in the order they were written, and none in between the parts of
-- another of its sort, nor a draft of several parts in between those of another draft: only the first part of each has
-- a number. What may be out, because its outcome is not known, has begun as well. Writes down that the part is about to
-- go out, and when a draft was first handed over. A text about a draft that no longer waits comes back as not wanted,
-- and so does a notice of what is over. At night only what answers the owner goes out, while it is fresh, and a draft
-- that the owner has just answered; what is held back holds nothing else up. `urgent` is given as a range, because the
-- index can be entered by one and keeps its order.
WITH candidate AS (
    SELECT o.id, o.in_doubt_since FROM sms_outbox o
     WHERE o.status = 'queued' AND o.channel = 'sms'
       AND o.urgent BETWEEN %(urgent_from)s AND %(urgent_to)s
       AND (NOT %(quiet)s
            OR ((o.urgent OR o.parts_sent > 0) AND o.created_at > now() - make_interval(secs => %(fresh)s))
            OR EXISTS (SELECT FROM sms_inbox i
                        WHERE i.processed_at IS NULL AND i.waits_for = o.workflow_id
                          AND least(i.received_at, i.stored_at) > now() - make_interval(secs => %(fresh)s)))
       AND (o.claimed_until IS NULL OR o.claimed_until < now())
       AND o.next_attempt_at <= now()
       AND NOT EXISTS (SELECT FROM sms_outbox b
                        WHERE b.workflow_id = o.workflow_id AND b.status = 'unwanted' AND b.claimed_until >= now())
       AND NOT EXISTS (SELECT FROM sms_outbox b
                        WHERE b.status = 'queued' AND b.channel = 'sms' AND b.id <> o.id
                          AND (b.parts_sent > 0 OR b.claimed_until IS NOT NULL)
                          AND (NOT %(quiet)s
                               OR ((b.urgent OR b.parts_sent > 0 OR b.claimed_until >= now())
                                   AND b.created_at > now() - make_interval(secs => %(fresh)s)))
                          AND (b.urgent = o.urgent OR (cardinality(b.parts) > 1 AND b.kind <> 'answer'
                                                       AND cardinality(o.parts) > 1 AND o.kind <> 'answer'))
                          AND (b.claimed_until >= now()
                               OR ((b.parts_sent > 0 OR (b.in_doubt_since IS NOT NULL AND b.kind <> 'answer'
                                                         AND cardinality(b.parts) > 1))
                                   AND (b.id < o.id OR (o.parts_sent = 0 AND o.in_doubt_since IS NULL)))))
     ORDER BY o.urgent DESC, o.id
     LIMIT 1
       FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE sms_outbox o
       SET claimed_by = %(claim)s, claimed_until = now() + make_interval(secs => %(lease)s),
           in_doubt_since = coalesce(o.in_doubt_since, now())
      FROM candidate c WHERE o.id = c.id
    RETURNING o.id, o.workflow_id, o.revision, o.kind, o.urgent, o.parts, o.parts_sent, o.hidden_chars, o.attempts,
              o.in_doubt_since AS attempt_at, c.in_doubt_since IS NOT NULL AS in_doubt, o.created_at
), offered AS (
    UPDATE workflow_state w SET offered_at = now()
      FROM claimed c
     WHERE w.id = c.workflow_id AND c.kind = 'offer' AND w.offered_at IS NULL
       AND w.draft_revision = c.revision AND w.current_state IN ('sms_sending', 'awaiting_user')
)
SELECT c.*, CASE c.kind WHEN 'answer' THEN true
                        WHEN 'notice' THEN NOT EXISTS (SELECT FROM workflow_event e
                                                        WHERE e.workflow_id = c.workflow_id AND e.at > c.created_at)
                        ELSE coalesce(w.draft_revision = c.revision
                                      AND w.current_state IN ('sms_sending', 'awaiting_user'), false) END AS wanted
  FROM claimed c LEFT JOIN workflow_state w ON w.id = c.workflow_id

-- name: begin_anew
UPDATE sms_outbox SET in_doubt_since = now() WHERE id = %(id)s AND claimed_by = %(claim)s AND status = 'queued'

-- name: offered_anew
-- A draft whose handing over came to nothing is handed over now; one that the owner has by another text is left alone.
UPDATE workflow_state SET offered_at = now()
 WHERE id = %(id)s AND draft_revision = %(revision)s AND offered_at = %(at)s
   AND (current_state <> 'awaiting_user' OR timeout_at IS NULL)

-- name: begun_texts
-- Texts in the midst of their parts that are due within some seconds.
SELECT id FROM sms_outbox
 WHERE status = 'queued' AND channel = 'sms' AND parts_sent > 0
   AND next_attempt_at <= now() + make_interval(secs => %(within)s)
   AND (NOT %(quiet)s OR created_at > now() - make_interval(secs => %(fresh)s))

-- name: pending_texts
-- Whether a text of the owner's waits to be acted on, or one to the owner is to go out within some seconds.
SELECT true AS some
 WHERE EXISTS (SELECT FROM sms_inbox WHERE processed_at IS NULL)
    OR EXISTS (SELECT FROM sms_outbox
                WHERE status = 'queued' AND next_attempt_at <= now() + make_interval(secs => %(within)s))

-- name: part_sent
-- Record that the gateway accepted the part in hand; after the last one the text is sent. Tells whether it is, whether
-- others wait long for the gateway to work again, and all of the workflow that it is about.
WITH accepted AS (
    UPDATE sms_outbox o
       SET parts_sent = o.parts_sent + 1, attempts = 0, in_doubt_since = NULL, claimed_by = NULL, claimed_until = NULL,
           gateway_id = coalesce(%(gateway_id)s, o.gateway_id), error = NULL,
           next_attempt_at = now() + make_interval(secs => %(gap)s),
           status = CASE WHEN o.status = 'queued' AND o.parts_sent + 1 >= cardinality(o.parts) THEN 'sent' ELSE o.status END,
           sent_at = CASE WHEN o.parts_sent + 1 >= cardinality(o.parts) THEN now() END
     WHERE o.id = %(id)s AND o.claimed_by = %(claim)s
    RETURNING o.workflow_id, o.status = 'sent' AS finished
)
SELECT a.finished, w.*, now() AS now,
       EXISTS (SELECT FROM sms_outbox o WHERE o.status = 'queued' AND o.channel = 'sms' AND o.id <> %(id)s
                                          AND o.attempts > 0
                                          AND o.next_attempt_at > now() + interval '30 s') AS others_wait
  FROM accepted a LEFT JOIN workflow_state w ON w.id = a.workflow_id

-- name: settle_text
-- End a lease on a text whose part in hand was not accepted: it is due again after a delay, goes another way, or never.
-- One that was withdrawn meanwhile stays so. Of what may be out the end of the lease is kept: it has begun.
UPDATE sms_outbox
   SET attempts = %(attempts)s, in_doubt_since = CASE WHEN %(in_doubt)s THEN in_doubt_since END, claimed_by = NULL,
       claimed_until = CASE WHEN %(in_doubt)s THEN now() END, error = %(error)s, next_attempt_at = now() + make_interval(secs => %(delay)s),
       status = CASE WHEN status = 'unwanted' THEN status ELSE %(status)s END, channel = %(channel)s,
       sent_at = CASE WHEN %(status)s::text = 'sent' THEN now() END
 WHERE id = %(id)s AND claimed_by = %(claim)s
RETURNING status = %(status)s AS is_as_said

-- name: not_offered_after_all
-- A draft whose first part was certainly refused was not handed over by that attempt; one that the owner has by another
-- text is left alone.
UPDATE workflow_state SET offered_at = NULL
 WHERE id = %(id)s AND draft_revision = %(revision)s AND offered_at = %(at)s
   AND (current_state <> 'awaiting_user' OR timeout_at IS NULL)

-- name: hasten_texts
-- The gateway works again: what waits for another try is due now. For an hour that try is none of those that are counted,
-- unless the text may be out: then it is not to come again and again.
UPDATE sms_outbox
   SET next_attempt_at = now(),
       attempts = attempts - (in_doubt_since IS NULL AND created_at > now() - interval '1 h')::int
 WHERE status = 'queued' AND channel = 'sms' AND attempts > 0 AND next_attempt_at > now()
   AND (claimed_until IS NULL OR claimed_until < now())

-- name: text_instead
-- No mail goes out for now: what was to go by email because texting was down is texted after all.
UPDATE sms_outbox SET channel = 'sms'
 WHERE status = 'queued' AND channel = 'email' AND (claimed_until IS NULL OR claimed_until < now())

-- name: draft_shown
-- Record how much of a workflow's current draft the owner has still not seen. What was seen stays seen, unless the draft
-- is offered anew.
UPDATE workflow_state SET hidden_chars = CASE WHEN %(anew)s THEN %(hidden)s ELSE least(hidden_chars, %(hidden)s) END
 WHERE id = %(id)s AND draft_revision = %(revision)s

-- name: left_out
-- How much of a draft the last text that showed it did not show.
SELECT hidden_chars FROM sms_outbox
 WHERE workflow_id = %(id)s AND revision = %(revision)s AND status = 'sent' AND channel = 'sms'
 ORDER BY sent_at DESC, id DESC LIMIT 1

-- name: draft_texted
-- Start the response clock of a draft that was offered again while it was waiting.
UPDATE workflow_state
   SET sms_sent_at = now(), remind_at = now() + make_interval(secs => %(remind_after)s),
       timeout_at = now() + make_interval(secs => %(timeout_after)s)
 WHERE id = %(id)s AND draft_revision = %(revision)s AND current_state = 'awaiting_user'

-- name: claim_email_notice
-- Lease the next text that has to go by email, because texting is down.
WITH candidate AS (
    SELECT id FROM sms_outbox
     WHERE status = 'queued' AND channel = 'email' AND next_attempt_at <= now()
       AND (claimed_until IS NULL OR claimed_until < now())
       AND NOT EXISTS (SELECT FROM service_state s
                        WHERE s.key = 'mail_pause' AND (s.value ->> 'until')::timestamptz > now())
     ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
)
UPDATE sms_outbox o SET claimed_by = %(claim)s, claimed_until = now() + make_interval(secs => %(lease)s)
  FROM candidate c WHERE o.id = c.id
RETURNING o.id, o.workflow_id, o.revision, o.kind, o.urgent, o.parts, o.parts_sent, o.hidden_chars, o.attempts,
          now() AS attempt_at, false AS in_doubt,
          o.kind <> 'notice' OR NOT EXISTS (SELECT FROM workflow_event e
                                             WHERE e.workflow_id = o.workflow_id AND e.at > o.created_at) AS wanted

-- Inbox -------------------------------------------------------------------------------------------------------------

-- name: store_text
-- Keep a text; no row comes back when it is a repeat.
INSERT INTO sms_inbox (message_id, phone_number, message, received_at)
VALUES (%(message_id)s, %(phone_number)s, %(text)s, %(received_at)s)
ON CONFLICT DO NOTHING
RETURNING id

-- name: next_text
-- The oldest text not acted on, held until the end of the transaction; one that waits for a sending is passed over
-- until that is recorded. Readers queue up behind each other here, so that order is kept. Tells whether there are others.
SELECT i.*, EXISTS (SELECT FROM sms_inbox o WHERE o.processed_at IS NULL AND o.id <> i.id) AS more, now() AS now
  FROM sms_inbox i
 WHERE i.processed_at IS NULL
   AND (i.waits_for IS NULL
        OR NOT EXISTS (SELECT FROM workflow_state w
                        WHERE w.id = i.waits_for AND w.offered_at IS NOT NULL
                          AND (w.current_state = 'sms_sending'
                               OR (w.current_state = 'awaiting_user' AND w.timeout_at IS NULL))))
 ORDER BY i.id LIMIT 1
   FOR UPDATE OF i

-- name: earlier_waits
-- For which sending a text waits that came before this one.
SELECT i.waits_for FROM sms_inbox i
 WHERE i.processed_at IS NULL AND i.id < %(id)s
   AND EXISTS (SELECT FROM workflow_state w
                WHERE w.id = i.waits_for AND w.offered_at IS NOT NULL
                  AND (w.current_state = 'sms_sending' OR (w.current_state = 'awaiting_user' AND w.timeout_at IS NULL)))
 ORDER BY i.id LIMIT 1

-- name: text_waits_for
UPDATE sms_inbox SET waits_for = %(workflow_id)s WHERE id = %(id)s

-- name: text_done
-- Record what came of a text.
UPDATE sms_inbox SET processed_at = now(), outcome = %(outcome)s WHERE id = %(id)s

-- name: text_stumbled
-- Count a failure to act on a text; after the third it is put aside.
UPDATE sms_inbox
   SET attempts = attempts + 1,
       processed_at = CASE WHEN attempts + 1 >= 3 THEN now() END,
       outcome = CASE WHEN attempts + 1 >= 3 THEN %(error)s END
 WHERE id = %(id)s AND processed_at IS NULL
RETURNING processed_at IS NOT NULL AS is_put_aside

-- Service state -----------------------------------------------------------------------------------------------------

-- name: remember
INSERT INTO service_state (key, value) VALUES (%(key)s, %(value)s)
ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = now()

-- name: recall
SELECT value, now() AS now FROM service_state WHERE key = %(key)s

-- name: forget
DELETE FROM service_state WHERE key = %(key)s

-- Figures -----------------------------------------------------------------------------------------------------------

-- name: states_and_changes
-- How many workflows there are in each of `states`, and by how many those in each of `closed` have become more since a
-- moment (None: by none). In one statement, so that nothing moves between the two.
SELECT current_state AS state, count(*) AS count, 0 AS change FROM workflow_state
 WHERE current_state = ANY (%(states)s::text[])
 GROUP BY current_state
 UNION ALL
SELECT s.state, 0, sum(s.change)
  FROM workflow_event e CROSS JOIN LATERAL (VALUES (e.to_state, 1), (e.from_state, -1)) AS s (state, change)
 WHERE e.at >= %(since)s::timestamptz AND s.state = ANY (%(closed)s::text[])
 GROUP BY s.state

-- name: completed_since
SELECT count(*) AS count FROM workflow_event WHERE to_state = 'reply_sent' AND at >= %(since)s

-- name: text_counts
-- How many texts of the owner's were acted on since a moment, and how many to the owner the gateway has taken.
SELECT (SELECT count(*) FROM sms_inbox WHERE processed_at >= %(since)s) AS answered,
       (SELECT count(*) FROM sms_outbox WHERE sent_at >= %(since)s AND channel = 'sms') AS sent

-- name: event_counts
-- How often each transition happened, and who caused it, from a moment until another (None: until now).
SELECT from_state, to_state, actor, count(*) AS count FROM workflow_event
 WHERE at >= %(since)s AND (%(until)s::timestamptz IS NULL OR at < %(until)s)
 GROUP BY from_state, to_state, actor

-- name: spans
-- Seconds from an email's taking to its first text, and from a draft's text to the owner's answer, for the texts and
-- answers between two moments: for each span a row for each bucket of `bounds`, and one with no bucket for them all.
WITH recent AS (
    SELECT id, workflow_id, from_state, to_state, at, actor FROM workflow_event
     WHERE at >= %(since)s AND (%(until)s::timestamptz IS NULL OR at < %(until)s)
), texted AS (
    SELECT 'email_to_text' AS span, extract(epoch FROM e.at - t.at)::float8 AS seconds
      FROM recent e JOIN workflow_event t ON t.workflow_id = e.workflow_id AND t.from_state IS NULL
     WHERE e.from_state = 'sms_sent' AND e.to_state = 'awaiting_user'
       AND NOT EXISTS (SELECT FROM workflow_event b
                        WHERE b.workflow_id = e.workflow_id AND b.to_state = 'awaiting_user' AND b.id < e.id)
), answered AS (
    SELECT 'text_to_answer' AS span, extract(epoch FROM e.at - o.at)::float8 AS seconds
      FROM recent e CROSS JOIN LATERAL (
           SELECT b.at FROM workflow_event b
            WHERE b.workflow_id = e.workflow_id AND b.id < e.id
              AND b.to_state = 'awaiting_user' AND b.from_state IN ('sms_sent', 'timeout')
            ORDER BY b.id DESC LIMIT 1) o
     WHERE e.from_state = 'awaiting_user' AND e.actor NOT IN ('poll', 'timer')
       AND e.to_state IN ('user_approved', 'user_edit_requested', 'user_ignored')
), spans AS (
    SELECT span, seconds, width_bucket(seconds, %(bounds)s::float8[]) AS bucket
      FROM (SELECT * FROM texted UNION ALL SELECT * FROM answered) both_spans
)
SELECT span, bucket, count(*) AS count, sum(seconds) AS total,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) AS median
  FROM spans GROUP BY GROUPING SETS ((span, bucket), (span))

-- name: remembered
-- Several of the values that the service remembers, at once.
SELECT key, value FROM service_state WHERE key = ANY (%(keys)s)

-- Retention ---------------------------------------------------------------------------------------------------------

-- name: clear_workflow_texts
-- Clear what was written in some workflows that finished some days ago, the longest kept first: drafts, instructions,
-- preview, the email's body as long as its status is still ours, and what a service said beside its refusal, which may
-- quote any of it. Events, times and counts stay.
WITH due AS (
    SELECT w.id, w.message_id FROM workflow_state w
     WHERE w.texts_cleared_at IS NULL AND w.current_state IN ('reply_sent', 'user_ignored', 'timeout', 'failed')
       AND w.created_at < now() - make_interval(days => %(days)s)
       AND w.updated_at < now() - make_interval(days => %(days)s)
     ORDER BY w.created_at
     LIMIT %(limit)s
       FOR UPDATE SKIP LOCKED
), refusals AS (
    UPDATE workflow_event e SET reason = regexp_replace(e.reason, %(refusal)s, '\1')
      FROM due WHERE e.workflow_id = due.id AND e.reason ~ %(refusal)s
), drafts AS (
    UPDATE draft d SET text = '', instructions = NULL FROM due WHERE d.workflow_id = due.id
), bodies AS (
    UPDATE processed_emails p SET body_text = NULL, body_html = NULL, reply_draft = NULL
      FROM due WHERE p.message_id = due.message_id AND p.status IN ('sent', 'ignored', 'timeout', 'failed')
)
UPDATE workflow_state w
   SET email_body_preview = NULL, ai_reply_text = NULL, user_edit_instructions = NULL, texts_cleared_at = now(),
       error_message = regexp_replace(w.error_message, %(refusal)s, '\1')
  FROM due WHERE w.id = due.id

-- name: drop_old_outbox
-- Drop texts to the owner that are done with. Only the oldest rows are looked at, so that this costs the same always.
DELETE FROM sms_outbox o
 USING (SELECT id FROM sms_outbox ORDER BY id LIMIT %(limit)s) oldest
 WHERE o.id = oldest.id AND o.status <> 'queued' AND o.created_at < now() - make_interval(days => %(days)s)

-- name: drop_old_inbox
-- Drop texts of the owner's that were acted on. Until then their keys make out a repeat.
DELETE FROM sms_inbox i
 USING (SELECT id FROM sms_inbox ORDER BY id LIMIT %(limit)s) oldest
 WHERE i.id = oldest.id AND i.processed_at IS NOT NULL AND i.stored_at < now() - make_interval(days => %(days)s)

-- name: drop_old_memories
-- Forget which senders once looked like a loop, and a command that was never completed.
DELETE FROM service_state
 WHERE (starts_with(key, 'loop ') OR key = 'dialogue') AND updated_at < now() - make_interval(days => %(days)s)

-- Checking ----------------------------------------------------------------------------------------------------------

-- name: server
SELECT current_setting('server_version_num')::int AS number, current_setting('server_version') AS version,
       current_user::text AS "user", current_database()::text AS database,
       pg_is_in_recovery() OR current_setting('transaction_read_only')::bool AS read_only,
       coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS may_create, clock_timestamp() AS now

-- name: missing_rights
-- Which of the given rights on the tables and sequences that there are our user lacks.
SELECT g.relation, g."right"
  FROM unnest(%(relations)s::text[], %(rights)s::text[]) AS g (relation, "right")
  JOIN pg_class c ON c.oid = to_regclass(g.relation)
 WHERE NOT CASE c.relkind WHEN 'S' THEN has_sequence_privilege(c.oid, g."right")
                          ELSE has_table_privilege(c.oid, g."right") END

-- name: missing_email_columns
SELECT g.name FROM unnest(%(columns)s::text[]) AS g (name)
 WHERE NOT EXISTS (SELECT FROM pg_attribute a
                    WHERE a.attrelid = to_regclass('processed_emails') AND a.attname = g.name AND NOT a.attisdropped)

-- Schema ------------------------------------------------------------------------------------------------------------

-- name: schema_is_there
SELECT to_regclass('schema_version') IS NOT NULL AS present

-- name: schema_version
SELECT max(version) AS version FROM schema_version
