-- The database of Email Orchestrator, whole: applied by `email-orchestrator init-db`, as often as one likes.
-- It brings an empty database, one that the Email Monitor has prepared, and one of any earlier version to the same state.

-- One at a time. Whoever has to wait, for another or for a backup, gives up soon and comes again (`init-db` by itself):
-- the daemon queues behind it. Once the tables are ours, a large one may take its time.
SELECT set_config('lock_timeout', '2s', true), set_config('statement_timeout', '0', true);
SELECT pg_advisory_xact_lock(7003118);

-- The Email Monitor's table, exactly as the Email Monitor creates it; where it exists it is left alone.
DO $$
BEGIN
    IF to_regclass('processed_emails') IS NULL THEN
        CREATE TABLE processed_emails (
            id            SERIAL PRIMARY KEY,
            message_id    VARCHAR(255) UNIQUE NOT NULL,
            subject       TEXT,
            from_address  VARCHAR(255) NOT NULL,
            to_addresses  TEXT[],
            received_at   TIMESTAMPTZ NOT NULL,
            processed_at  TIMESTAMPTZ NOT NULL DEFAULT now(),
            status        VARCHAR(50) NOT NULL DEFAULT 'pending',
            reply_draft   TEXT,
            error_message TEXT,
            thread_id     VARCHAR(255),
            in_reply_to   VARCHAR(255),
            created_at    TIMESTAMPTZ NOT NULL DEFAULT now(),
            updated_at    TIMESTAMPTZ NOT NULL DEFAULT now(),
            body_text     TEXT,
            body_html     TEXT
        );
        CREATE INDEX idx_processed_emails_pending ON processed_emails (received_at) WHERE status = 'pending';
        CREATE OR REPLACE FUNCTION processed_emails_touch() RETURNS trigger LANGUAGE plpgsql AS $touch$
            BEGIN NEW.updated_at := now(); RETURN NEW; END
        $touch$;
        CREATE TRIGGER processed_emails_touch BEFORE UPDATE ON processed_emails
            FOR EACH ROW EXECUTE FUNCTION processed_emails_touch();
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'readwrite') THEN
            GRANT SELECT, INSERT, UPDATE, DELETE ON processed_emails TO readwrite;
            GRANT USAGE, SELECT ON SEQUENCE processed_emails_id_seq TO readwrite;
        END IF;
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'readonly') THEN
            GRANT SELECT ON processed_emails TO readonly;
        END IF;
    END IF;
END $$;

-- One row for each email we took: where it stands on the belt.
CREATE TABLE IF NOT EXISTS workflow_state (
    id                     SERIAL PRIMARY KEY,
    message_id             TEXT UNIQUE NOT NULL REFERENCES processed_emails (message_id) ON DELETE CASCADE,
    email_subject          TEXT,
    email_from             TEXT,
    email_body_preview     TEXT,
    current_state          TEXT NOT NULL,
    previous_state         TEXT,
    ai_reply_text          TEXT,
    ai_reply_generated_at  TIMESTAMPTZ,
    sms_message_id         TEXT,
    sms_sent_at            TIMESTAMPTZ,
    sms_phone_number       TEXT,
    user_command           TEXT,
    user_edit_instructions TEXT,
    user_responded_at      TIMESTAMPTZ,
    edit_iteration         INTEGER DEFAULT 0,
    reply_sent_at          TIMESTAMPTZ,
    reply_message_id       TEXT,
    error_message          TEXT,
    retry_count            INTEGER DEFAULT 0,
    created_at             TIMESTAMPTZ DEFAULT now(),
    updated_at             TIMESTAMPTZ DEFAULT now(),
    timeout_at             TIMESTAMPTZ
);

-- The first design's table had narrow columns, times without a zone (in UTC) and no cascade.
DO $$
DECLARE
    changes text;
    link    record;
BEGIN
    SELECT string_agg(CASE atttypid WHEN 'varchar'::regtype THEN format('ALTER COLUMN %I TYPE TEXT', attname)
                      ELSE format('ALTER COLUMN %1$I TYPE TIMESTAMPTZ USING %1$I AT TIME ZONE ''UTC''', attname) END, ', ')
      INTO changes
      FROM pg_attribute
     WHERE attrelid = 'workflow_state'::regclass AND attnum > 0 AND NOT attisdropped
       AND atttypid IN ('varchar'::regtype, 'timestamp'::regtype);
    IF changes IS NOT NULL THEN
        EXECUTE 'ALTER TABLE workflow_state ' || changes;
    END IF;
    FOR link IN
        SELECT conname FROM pg_constraint
         WHERE conrelid = 'workflow_state'::regclass AND confrelid = 'processed_emails'::regclass AND confdeltype <> 'c'
    LOOP
        EXECUTE format('ALTER TABLE workflow_state DROP CONSTRAINT %I', link.conname);
        ALTER TABLE workflow_state ADD FOREIGN KEY (message_id) REFERENCES processed_emails (message_id) ON DELETE CASCADE;
    END LOOP;
END $$;

ALTER TABLE workflow_state
    ALTER COLUMN created_at SET DEFAULT now(),
    ALTER COLUMN updated_at SET DEFAULT now(),
    ADD COLUMN IF NOT EXISTS sender_name     TEXT NOT NULL DEFAULT '',
    ADD COLUMN IF NOT EXISTS thread_id       TEXT,
    -- which draft is current; 0 before the first
    ADD COLUMN IF NOT EXISTS draft_revision  INTEGER NOT NULL DEFAULT 0,
    -- characters at the draft's end that no text has shown the owner yet
    ADD COLUMN IF NOT EXISTS hidden_chars    INTEGER NOT NULL DEFAULT 0,
    -- when the current draft was first handed to the gateway: an answer from before is not an answer to it
    ADD COLUMN IF NOT EXISTS offered_at      TIMESTAMPTZ,
    ADD COLUMN IF NOT EXISTS remind_at       TIMESTAMPTZ,
    -- the older workflow of the same thread that this one closed
    ADD COLUMN IF NOT EXISTS supersedes      INTEGER,
    -- when the draft was approved, and the fingerprint of the recipient, subject and body that were
    ADD COLUMN IF NOT EXISTS approved_at     TIMESTAMPTZ,
    ADD COLUMN IF NOT EXISTS approved_hash   TEXT,
    -- set before SMTP is spoken to and cleared by a definite answer: while it is set, the reply may be out
    ADD COLUMN IF NOT EXISTS send_started_at TIMESTAMPTZ,
    -- the lease of whoever works on the row, and when the row is due again
    ADD COLUMN IF NOT EXISTS claimed_by      TEXT,
    ADD COLUMN IF NOT EXISTS claimed_until   TIMESTAMPTZ,
    ADD COLUMN IF NOT EXISTS next_attempt_at TIMESTAMPTZ,
    -- when the texts of a workflow that finished long ago were cleared
    ADD COLUMN IF NOT EXISTS texts_cleared_at TIMESTAMPTZ;

-- Version 1 had other indexes under some of the same names: they go, and are made anew below.
DO $$
BEGIN
    IF to_regclass('schema_version') IS NOT NULL THEN
        IF NOT EXISTS (SELECT FROM schema_version WHERE version >= 2) THEN
            DROP INDEX IF EXISTS idx_workflow_drafting, idx_workflow_open_thread, idx_workflow_replied,
                                 idx_workflow_event_workflow, idx_sms_outbox_queued;
            ALTER TABLE IF EXISTS workflow_event
                DROP CONSTRAINT IF EXISTS workflow_event_pkey, ADD PRIMARY KEY (workflow_id, id);
        END IF;
    END IF;
END $$;

CREATE INDEX IF NOT EXISTS idx_workflow_state ON workflow_state (current_state);
CREATE INDEX IF NOT EXISTS idx_workflow_timeout ON workflow_state (timeout_at);
-- In the order in which drafts are written: edits and what broke off first.
CREATE INDEX IF NOT EXISTS idx_workflow_drafting ON workflow_state ((current_state = 'pending'), id)
    WHERE current_state IN ('pending', 'user_edit_requested', 'ai_generating');
-- Approved replies are few, and found by their state.
DROP INDEX IF EXISTS idx_workflow_replying;
CREATE INDEX IF NOT EXISTS idx_workflow_waiting ON workflow_state (remind_at) WHERE current_state = 'awaiting_user';
CREATE INDEX IF NOT EXISTS idx_workflow_open_thread ON workflow_state (thread_id)
    WHERE current_state IN ('pending', 'ai_generating', 'ai_generated', 'sms_sending', 'sms_sent', 'awaiting_user',
                            'user_edit_requested');
CREATE INDEX IF NOT EXISTS idx_workflow_supersedes ON workflow_state (supersedes) WHERE supersedes IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_workflow_replied ON workflow_state (lower(email_from), reply_sent_at)
    WHERE reply_sent_at IS NOT NULL;
-- By when they came in, which never changes: a row enters this index once, when it is finished.
CREATE INDEX IF NOT EXISTS idx_workflow_texts ON workflow_state (created_at)
    WHERE texts_cleared_at IS NULL AND current_state IN ('reply_sent', 'user_ignored', 'timeout', 'failed');

-- A row is written anew at every step: with room beside it, the change alone goes to the log of the database.
ALTER TABLE workflow_state SET (fillfactor = 40);

-- Every transition, for good: all figures and histories come from here.
CREATE TABLE IF NOT EXISTS workflow_event (
    id          BIGSERIAL,
    workflow_id INTEGER NOT NULL REFERENCES workflow_state (id) ON DELETE CASCADE,
    from_state  TEXT,
    to_state    TEXT NOT NULL,
    at          TIMESTAMPTZ NOT NULL DEFAULT now(),
    reason      TEXT,
    actor       TEXT NOT NULL,
    PRIMARY KEY (workflow_id, id)
);
CREATE INDEX IF NOT EXISTS idx_workflow_event_at ON workflow_event (at);

-- Every draft ever made.
CREATE TABLE IF NOT EXISTS draft (
    workflow_id  INTEGER NOT NULL REFERENCES workflow_state (id) ON DELETE CASCADE,
    revision     INTEGER NOT NULL,
    text         TEXT NOT NULL,
    instructions TEXT,
    ai_draft_id  TEXT,
    model        TEXT,
    tokens       INTEGER,
    created_at   TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (workflow_id, revision)
);

-- Inbox: what the owner texted, stored before it is acknowledged.
CREATE TABLE IF NOT EXISTS sms_inbox (
    id           BIGSERIAL PRIMARY KEY,
    message_id   TEXT NOT NULL,
    phone_number TEXT NOT NULL,
    message      TEXT NOT NULL,
    received_at  TIMESTAMPTZ NOT NULL,
    stored_at    TIMESTAMPTZ NOT NULL DEFAULT now(),
    -- the workflow whose sending has to be recorded before this answer can be acted on
    waits_for    INTEGER,
    attempts     INTEGER NOT NULL DEFAULT 0,
    processed_at TIMESTAMPTZ,
    outcome      TEXT
);
CREATE UNIQUE INDEX IF NOT EXISTS idx_sms_inbox_message ON sms_inbox (message_id, received_at);
CREATE UNIQUE INDEX IF NOT EXISTS idx_sms_inbox_text ON sms_inbox (phone_number, received_at, md5(message));
CREATE INDEX IF NOT EXISTS idx_sms_inbox_open ON sms_inbox (id) WHERE processed_at IS NULL;

-- Outbox: what the owner is to be told, written in the transaction that decided it.
CREATE TABLE IF NOT EXISTS sms_outbox (
    id              BIGSERIAL PRIMARY KEY,
    workflow_id     INTEGER REFERENCES workflow_state (id) ON DELETE CASCADE,
    revision        INTEGER,
    kind            TEXT NOT NULL,                   -- offer, more, reminder, answer, notice
    channel         TEXT NOT NULL DEFAULT 'sms',     -- email when texting itself is down
    urgent          BOOLEAN NOT NULL,                -- answers something the owner just texted: not held in quiet hours
    parts           TEXT[] NOT NULL,
    parts_sent      INTEGER NOT NULL DEFAULT 0,
    hidden_chars    INTEGER NOT NULL DEFAULT 0,      -- how much of the draft is still unseen once this text is out
    status          TEXT NOT NULL DEFAULT 'queued',  -- queued, sent, failed, unwanted
    created_at      TIMESTAMPTZ NOT NULL DEFAULT now(),
    next_attempt_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    attempts        INTEGER NOT NULL DEFAULT 0,
    -- set before the gateway is called and cleared by a definite answer: while it is set, the part may be out
    in_doubt_since  TIMESTAMPTZ,
    claimed_by      TEXT,
    claimed_until   TIMESTAMPTZ,
    gateway_id      TEXT,
    sent_at         TIMESTAMPTZ,
    error           TEXT
);
ALTER TABLE sms_outbox SET (fillfactor = 50);
-- In the order in which texts go out, and those that have begun, which others of their sort wait for.
CREATE INDEX IF NOT EXISTS idx_sms_outbox_queued ON sms_outbox (channel, urgent DESC, id) WHERE status = 'queued';
CREATE INDEX IF NOT EXISTS idx_sms_outbox_begun ON sms_outbox (urgent)
    WHERE status = 'queued' AND channel = 'sms' AND (parts_sent > 0 OR claimed_until IS NOT NULL);
CREATE INDEX IF NOT EXISTS idx_sms_outbox_workflow ON sms_outbox (workflow_id);

-- What the service must remember between two rounds: last poll, pauses, an unfinished command, notices given once.
CREATE TABLE IF NOT EXISTS service_state (
    key        TEXT PRIMARY KEY,
    value      JSONB NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);

-- Rows that the first design left in the middle of things go on from here.
DO $$
DECLARE
    moment name;
BEGIN
    IF to_regclass('schema_version') IS NULL THEN
        -- Times beyond all reason, and words for states that there are not, say nothing.
        FOR moment IN SELECT attname FROM pg_attribute
                       WHERE attrelid = 'workflow_state'::regclass AND atttypid = 'timestamptz'::regtype
        LOOP
            EXECUTE format('UPDATE workflow_state SET %1$I = NULL
                             WHERE %1$I NOT BETWEEN ''1970-01-01'' AND now() + interval ''10 years''', moment);
        END LOOP;
        UPDATE workflow_state SET previous_state = NULL
         WHERE previous_state NOT IN ('pending', 'ai_generating', 'ai_generated', 'sms_sending', 'sms_sent',
                                      'awaiting_user', 'user_approved', 'user_edit_requested', 'user_ignored',
                                      'reply_sent', 'failed', 'timeout');
        -- A draft without a word is none; the others are counted by the edits before them.
        UPDATE workflow_state w
           SET email_from = CASE WHEN w.email_from ~ '^[^[:space:]<>@]+@[^[:space:]<>@]+$' THEN w.email_from
                                 ELSE p.from_address END,
               email_subject = coalesce(w.email_subject, p.subject),
               thread_id = p.thread_id,
               edit_iteration = least(greatest(w.edit_iteration, 0), 1000),
               draft_revision = CASE WHEN w.ai_reply_text ~ '[^[:space:]]'
                                     THEN least(greatest(w.edit_iteration, 0), 1000) + 1 ELSE 0 END,
               created_at = coalesce(w.created_at, w.updated_at, now()),
               updated_at = coalesce(w.updated_at, w.created_at, now()),
               error_message = CASE WHEN w.current_state = 'failed' THEN coalesce(w.error_message, 'no reason was recorded')
                                    ELSE w.error_message END,
               retry_count = 0
          FROM processed_emails p WHERE p.message_id = w.message_id;
        -- The instructions of a row whose edit is still to be done belong to the draft that is to come.
        INSERT INTO draft (workflow_id, revision, text, instructions, created_at)
        SELECT id, draft_revision, ai_reply_text,
               CASE WHEN draft_revision > 1 AND current_state <> 'user_edit_requested'
                         AND NOT (current_state IN ('ai_generating', 'failed')
                                  AND coalesce(previous_state, '') IN ('user_edit_requested', 'ai_generating'))
                    THEN user_edit_instructions END,
               coalesce(ai_reply_generated_at, created_at)
          FROM workflow_state WHERE draft_revision > 0;
        -- What was sent is sent, whatever the row says beside it. What was approved then was not fingerprinted, and what
        -- was half texted was not recorded: both are offered anew, and so is, by a retry, what could not be sent. What
        -- waits without a draft gets one. What is in no state that we know is left to a person.
        WITH old AS (
            SELECT id, current_state, CASE
                       WHEN current_state IN ('reply_sent', 'user_ignored', 'timeout') THEN current_state
                       WHEN reply_sent_at IS NOT NULL THEN 'reply_sent'
                       WHEN current_state IN ('pending', 'user_edit_requested', 'failed') THEN current_state
                       WHEN current_state NOT IN ('ai_generating', 'ai_generated', 'sms_sending', 'sms_sent',
                                                  'awaiting_user', 'user_approved') THEN 'failed'
                       WHEN draft_revision = 0 THEN 'pending'
                       WHEN current_state = 'awaiting_user' THEN current_state
                       WHEN current_state = 'ai_generating' AND previous_state = 'user_edit_requested'
                            AND user_edit_instructions IS NOT NULL THEN 'user_edit_requested'
                       ELSE 'sms_sending' END AS goes_on
              FROM workflow_state
        ), moved AS (
            UPDATE workflow_state w
               SET previous_state = CASE WHEN old.goes_on NOT IN ('failed', 'reply_sent') THEN old.current_state END,
                   current_state = old.goes_on,
                   error_message = CASE WHEN old.goes_on <> 'failed' THEN w.error_message
                                        ELSE format('it was left in "%s", which is no state', old.current_state) END
              FROM old WHERE w.id = old.id AND old.goes_on <> old.current_state
            RETURNING w.id, old.current_state AS came_from, old.goes_on)
        INSERT INTO workflow_event (workflow_id, from_state, to_state, reason, actor)
        SELECT id, came_from, goes_on, 'taken over from the first design', 'timer' FROM moved ORDER BY id;
        UPDATE workflow_state
           SET previous_state = CASE WHEN draft_revision > 0 THEN 'sms_sending' ELSE 'ai_generating' END
         WHERE current_state = 'failed'
           AND (draft_revision = 0 OR previous_state IS NULL
                OR previous_state NOT IN ('ai_generating', 'ai_generated', 'sms_sending', 'sms_sent', 'user_edit_requested'));
        -- What waits for its owner was texted; its clock goes on running.
        UPDATE workflow_state w
           SET offered_at = texted.at,
               remind_at = texted.at + interval '24 hours',
               timeout_at = coalesce(timeout_at, texted.at + interval '48 hours')
          FROM (SELECT id, least(coalesce(sms_sent_at, updated_at), now()) AS at FROM workflow_state) texted
         WHERE w.current_state = 'awaiting_user' AND texted.id = w.id;
        UPDATE processed_emails p
           SET status = CASE w.current_state WHEN 'reply_sent' THEN 'sent' WHEN 'user_ignored' THEN 'ignored'
                             WHEN 'timeout' THEN 'timeout' WHEN 'failed' THEN 'failed' ELSE 'orchestrating' END
          FROM workflow_state w WHERE p.message_id = w.message_id AND p.status = 'pending';
        CREATE TABLE schema_version (version INTEGER NOT NULL, applied_at TIMESTAMPTZ NOT NULL DEFAULT now());
    END IF;
END $$;

INSERT INTO schema_version (version)
SELECT 2 WHERE NOT EXISTS (SELECT FROM schema_version WHERE version >= 2);

-- People and programs that share the database under these roles, where there are such.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'readwrite') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON workflow_state, workflow_event, draft, sms_inbox, sms_outbox,
              service_state, schema_version TO readwrite;
        GRANT USAGE, SELECT ON SEQUENCE workflow_state_id_seq, workflow_event_id_seq, sms_inbox_id_seq, sms_outbox_id_seq
              TO readwrite;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'readonly') THEN
        GRANT SELECT ON workflow_state, workflow_event, draft, sms_inbox, sms_outbox, service_state, schema_version
              TO readonly;
    END IF;
END $$;
