-- The first schema. A script is never changed once it was released: the next one mends it.
-- "RLAY": a file with any other number here is not ours.
PRAGMA application_id = 0x524c4159;

-- One row. The number of the last script that was run, and the highest place that was ever given: the row that had
-- it may be gone.
CREATE TABLE store (
    version INTEGER NOT NULL,
    last_place INTEGER NOT NULL
) STRICT;

-- Places rise with acceptance and are given by the caller. The payload comes last, so that what stands before it is
-- read without it.
CREATE TABLE messages (
    place INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    agent TEXT NOT NULL,
    content_type TEXT NOT NULL,
    form TEXT NOT NULL,
    created_at REAL NOT NULL,                 -- all times: Unix time, seconds
    expires_at REAL NOT NULL,
    attempts INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    nacks INTEGER NOT NULL,
    first_failure_at REAL NOT NULL,
    not_before REAL NOT NULL,
    status TEXT NOT NULL DEFAULT 'queued',    -- anything else: it has ended
    reason TEXT NOT NULL DEFAULT '',
    ended_at REAL,                            -- NULL: it has not
    size INTEGER NOT NULL,                    -- of the payload, bytes
    checksum BLOB NOT NULL,                   -- over id, agent, content_type, form, payload
    payload BLOB NOT NULL
) STRICT;

-- With the size in it a million queued messages are counted without touching one of them.
CREATE INDEX queue ON messages (agent, place, size) WHERE status = 'queued';
CREATE INDEX ended ON messages (ended_at, size) WHERE ended_at IS NOT NULL;

CREATE TABLE agents (
    agent TEXT PRIMARY KEY,
    last_seen REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX agents_by_time ON agents (last_seen);

INSERT INTO store VALUES (1, 0);
