-- Versions with the first form of this table have never written to it.
DROP TABLE outbox;

-- Notifications: due until they are delivered, given up or dropped. The document stays only while it is due.
CREATE TABLE outbox (
    n INTEGER PRIMARY KEY,
    incident TEXT NOT NULL,
    seq INTEGER NOT NULL,
    receiver TEXT NOT NULL,
    event TEXT NOT NULL,
    state TEXT NOT NULL,
    queued_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    attempted_at INTEGER,
    next_at INTEGER,
    why TEXT,
    document TEXT NOT NULL,
    checksum INTEGER NOT NULL,
    UNIQUE (incident, seq, receiver)
);
CREATE INDEX outbox_due ON outbox (incident) WHERE state = 'due';
