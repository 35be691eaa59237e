-- Callbacks are bounded, and a message that ends again is told again.

ALTER TABLE store ADD COLUMN callbacks INTEGER NOT NULL DEFAULT 0;   -- owed, or promised to what is queued

-- How many ends of the message came to be owed before one was told.
ALTER TABLE callbacks ADD COLUMN number INTEGER NOT NULL DEFAULT 1;

-- Of what was replaced, which may be delivered after all.
ALTER TABLE past ADD COLUMN callback TEXT;

UPDATE store SET callbacks = (SELECT count(*) FROM callbacks)
    + (SELECT count(*) FROM messages WHERE status = 'queued' AND callback IS NOT NULL);
