-- The first schema. A script is never changed once it was released: the next one mends it.
-- All times are Unix time in seconds. Ids are compared byte by byte: no collation may change their order or equality.

-- One row. `opened` counts the openings: a relay that comes back to another number than its own was not alone.
-- The counts save counting: each is kept up in the transaction that changes it.
CREATE TABLE store (
    version integer NOT NULL,
    opened bigint NOT NULL DEFAULT 0,
    last_place bigint NOT NULL DEFAULT 0,     -- the highest that was ever given: the row that had it may be gone
    secret bytea NOT NULL,                    -- ids of messages with an idempotency key are derived from it
    keys bigint NOT NULL DEFAULT 0,
    callbacks bigint NOT NULL DEFAULT 0,      -- owed, or promised to what is queued
    pasts bigint NOT NULL DEFAULT 0,
    reply_bytes bigint NOT NULL DEFAULT 0,
    letters bigint NOT NULL DEFAULT 0,
    letter_bytes bigint NOT NULL DEFAULT 0
);

-- What is queued, and the dead letters (ended_at is not null). Room is left in the pages, so that what a send changes
-- is changed in place, without touching an index. Dead rows are cleared away early: a queue is mostly dead rows.
CREATE TABLE messages (
    place bigint PRIMARY KEY,
    id text COLLATE "C" NOT NULL UNIQUE,
    agent text COLLATE "C" NOT NULL,
    content_type text NOT NULL,
    form text NOT NULL,
    created_at float8 NOT NULL,
    expires_at float8 NOT NULL,
    attempts integer NOT NULL,
    failures integer NOT NULL,
    nacks integer NOT NULL,
    first_failure_at float8 NOT NULL,
    not_before float8 NOT NULL,
    status text NOT NULL DEFAULT 'queued',
    reason text NOT NULL DEFAULT '',          -- of what is queued: the id that is to take its place
    ended_at float8,
    renewed_at float8,                        -- when its time to live last began afresh
    size integer NOT NULL,                    -- of the payload, bytes
    checksum bytea NOT NULL,                  -- over what the agent gets
    payload bytea NOT NULL,
    topic text COLLATE "C",
    headers text,                             -- JSON: [[name, value], …]
    publisher text NOT NULL,
    callback text,
    timeline text NOT NULL                    -- a line of JSON for each event
) WITH (fillfactor = 80, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02);

CREATE INDEX queue ON messages (agent, place) INCLUDE (size) WHERE status = 'queued';
CREATE INDEX topics ON messages (agent, topic, place) WHERE status = 'queued' AND topic IS NOT NULL;
CREATE INDEX expiring ON messages (expires_at) WHERE status = 'queued';
CREATE INDEX spared ON messages (place) WHERE status = 'queued' AND reason <> '';
CREATE INDEX letters ON messages (ended_at, place) INCLUDE (size) WHERE ended_at IS NOT NULL;

-- Every end, for as long as it is remembered.
CREATE TABLE past (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text COLLATE "C" NOT NULL UNIQUE,
    agent text COLLATE "C" NOT NULL,
    publisher text NOT NULL,
    status text NOT NULL,
    reason text NOT NULL,
    attempts integer NOT NULL,
    created_at float8 NOT NULL,
    expires_at float8 NOT NULL,
    ended_at float8 NOT NULL,
    size integer NOT NULL,                    -- of the reply, bytes
    reply bytea,
    timeline text NOT NULL,
    callback text                             -- of what was replaced, which may be delivered after all
);

CREATE INDEX past_by_time ON past (ended_at, number);

CREATE TABLE agents (
    agent text COLLATE "C" PRIMARY KEY,
    last_seen float8 NOT NULL
);

CREATE INDEX agents_by_time ON agents (last_seen);

-- The name is a digest of publisher, agent and key.
CREATE TABLE keys (
    name bytea PRIMARY KEY,
    id text COLLATE "C" NOT NULL,             -- of the message
    digest bytea NOT NULL,
    until float8 NOT NULL
);

CREATE INDEX keys_by_time ON keys (until);

CREATE TABLE callbacks (
    id text COLLATE "C" PRIMARY KEY,          -- of the message
    url text NOT NULL,
    body bytea NOT NULL,
    tries integer NOT NULL,
    due_at float8 NOT NULL,
    number integer NOT NULL DEFAULT 1         -- how many ends of the message came to be owed before one was told
);

CREATE INDEX callbacks_by_time ON callbacks (due_at);
