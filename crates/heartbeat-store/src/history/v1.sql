-- Times are milliseconds since 1970 in UTC.

-- When heartbeatd ran: what lies between two lives is unknown.
CREATE TABLE life (
    no INTEGER PRIMARY KEY,
    boot TEXT NOT NULL,
    began INTEGER NOT NULL,
    seen INTEGER NOT NULL
);

CREATE TABLE realm (
    no INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);

-- Every change of a status. The class is what it counts as for the availability.
CREATE TABLE transition (
    realm INTEGER NOT NULL,
    at INTEGER NOT NULL,
    n INTEGER NOT NULL,
    life INTEGER NOT NULL,
    status TEXT NOT NULL,
    class INTEGER NOT NULL,
    reason TEXT NOT NULL,
    checksum INTEGER NOT NULL,
    PRIMARY KEY (realm, at, n)
) WITHOUT ROWID;

CREATE VIEW story AS
    SELECT realm.name AS realm, strftime('%Y-%m-%dT%H:%M:%fZ', at / 1000.0, 'unixepoch') AS at, status, reason
    FROM transition JOIN realm ON realm.no = transition.realm;

-- The times of every realm by class, for each UTC day that is over: packed.
CREATE TABLE day (
    day INTEGER PRIMARY KEY,
    data BLOB NOT NULL
);

CREATE TABLE series (
    no INTEGER PRIMARY KEY,
    realm TEXT NOT NULL,
    probe TEXT NOT NULL,
    UNIQUE (realm, probe)
);

-- Latencies. Tier 0: a summary for each minute; 1, 2, 3: a sketch for each ten minutes, hour, day.
-- What is recent is one row for each slot, what is older is packed into chunks.
CREATE TABLE entry (
    tier INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    series INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (tier, slot, series)
) WITHOUT ROWID;

CREATE TABLE chunk (
    tier INTEGER NOT NULL,
    start INTEGER NOT NULL,
    series INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (tier, start, series)
) WITHOUT ROWID;
