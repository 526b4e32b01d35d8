-- One row per incident. The document is what the API shows; the columns beside it are for queries.
CREATE TABLE incident (
    id TEXT NOT NULL PRIMARY KEY,
    opened_at INTEGER NOT NULL,
    resolved_at INTEGER,
    root TEXT NOT NULL,
    reason TEXT NOT NULL,
    message TEXT NOT NULL,
    document TEXT NOT NULL,
    state TEXT,
    checksum INTEGER NOT NULL
);
CREATE INDEX incident_open ON incident (id) WHERE resolved_at IS NULL;

CREATE VIEW timeline AS
    SELECT incident.id AS incident, line.key AS n, line.value ->> 'at' AS at, line.value ->> 'realm' AS realm,
        line.value ->> 'what' AS what, line.value ->> 'detail' AS detail
    FROM incident, json_each(incident.document, '$.timeline') AS line;

CREATE VIEW action AS
    SELECT * FROM timeline
    WHERE what IN ('Started', 'Signalled', 'RestartOpened', 'RestartHeld', 'RestartCommand', 'RestartVerified',
        'RestartFailed', 'RestartAbandoned', 'Commanded', 'Paused', 'Resumed');

CREATE VIEW acknowledgement AS
    SELECT id AS incident, document ->> '$.ack.at' AS at, document ->> '$.ack.by' AS by, document ->> '$.ack.note' AS note
    FROM incident WHERE document ->> '$.ack' IS NOT NULL;

-- Notifications: due until they are delivered or given up.
CREATE TABLE outbox (
    n INTEGER PRIMARY KEY,
    incident TEXT NOT NULL,
    seq INTEGER NOT NULL,
    receiver TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'due',
    why TEXT,
    document TEXT NOT NULL,
    checksum INTEGER NOT NULL,
    UNIQUE (incident, seq, receiver)
);
CREATE INDEX outbox_due ON outbox (n) WHERE state = 'due';

CREATE TABLE audit (
    n INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    by TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    detail TEXT NOT NULL,
    checksum INTEGER NOT NULL
);

CREATE TABLE note (
    name TEXT NOT NULL PRIMARY KEY,
    body TEXT NOT NULL,
    checksum INTEGER NOT NULL
);
