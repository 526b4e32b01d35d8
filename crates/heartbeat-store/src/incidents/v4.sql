-- What was seen when an incident was opened and when it was resolved, deflated.
CREATE TABLE evidence (
    incident TEXT NOT NULL,
    part TEXT NOT NULL,
    body BLOB NOT NULL,
    checksum INTEGER NOT NULL,
    PRIMARY KEY (incident, part)
);
