-- The rest of the delivery contract: what comes with a message, how it ended, keys, callbacks.

-- Ids of messages with an idempotency key are derived from the secret. The counts save counting: each is kept up in
-- the transaction that changes it.
ALTER TABLE store ADD COLUMN secret BLOB NOT NULL DEFAULT x'';
ALTER TABLE store ADD COLUMN keys INTEGER NOT NULL DEFAULT 0;
ALTER TABLE store ADD COLUMN pasts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE store ADD COLUMN reply_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE store ADD COLUMN letters INTEGER NOT NULL DEFAULT 0;
ALTER TABLE store ADD COLUMN letter_bytes INTEGER NOT NULL DEFAULT 0;

-- They stand behind the payload: to put them before it every row would have to be written anew.
ALTER TABLE messages ADD COLUMN topic TEXT;
ALTER TABLE messages ADD COLUMN headers TEXT;              -- JSON: [[name, value], …]
ALTER TABLE messages ADD COLUMN publisher TEXT NOT NULL DEFAULT '';
ALTER TABLE messages ADD COLUMN callback TEXT;
ALTER TABLE messages ADD COLUMN timeline TEXT NOT NULL DEFAULT '';   -- a line of JSON for each event
ALTER TABLE messages ADD COLUMN renewed_at REAL;           -- when its time to live last began afresh

CREATE INDEX topics ON messages (agent, topic, place) WHERE status = 'queued' AND topic IS NOT NULL;
CREATE INDEX expiring ON messages (expires_at) WHERE status = 'queued';

-- What has ended and is still in messages is a dead letter.
DROP INDEX ended;
CREATE INDEX letters ON messages (ended_at, place, size) WHERE ended_at IS NOT NULL;

-- Every end, for as long as it is remembered.
CREATE TABLE past (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    agent TEXT NOT NULL,
    publisher TEXT NOT NULL,
    status TEXT NOT NULL,
    reason TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    created_at REAL NOT NULL,
    expires_at REAL NOT NULL,
    ended_at REAL NOT NULL,
    size INTEGER NOT NULL,                    -- of the reply, bytes
    reply BLOB,
    timeline TEXT NOT NULL
) STRICT;

CREATE INDEX past_by_time ON past (ended_at, size);

-- The name is a digest of publisher, agent and key.
CREATE TABLE keys (
    name BLOB PRIMARY KEY,
    id TEXT NOT NULL,                         -- of the message
    digest BLOB NOT NULL,
    until REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX keys_by_time ON keys (until);

CREATE TABLE callbacks (
    id TEXT NOT NULL UNIQUE,                  -- of the message
    url TEXT NOT NULL,
    tries INTEGER NOT NULL,
    due_at REAL NOT NULL,
    body BLOB NOT NULL
) STRICT;

CREATE INDEX callbacks_by_time ON callbacks (due_at);

-- The first version kept every message that had not been delivered.
INSERT INTO past (id, agent, publisher, status, reason, attempts, created_at, expires_at, ended_at, size, timeline)
    SELECT id, agent, '', status, reason, attempts, created_at, expires_at, ended_at, 0, '' FROM messages
    WHERE ended_at IS NOT NULL ORDER BY ended_at;
UPDATE store SET last_place = max(last_place, (SELECT ifnull(max(place), 0) FROM messages));
DELETE FROM messages WHERE status IN ('cancelled', 'replaced');
UPDATE store SET
    secret = randomblob(32),
    pasts = (SELECT count(*) FROM past),
    letters = (SELECT count(*) FROM messages WHERE ended_at IS NOT NULL),
    letter_bytes = (SELECT ifnull(sum(size), 0) FROM messages WHERE ended_at IS NOT NULL);
