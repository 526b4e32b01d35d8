-- The message that a notification is part of, and what the receiver calls that message. It stands behind the checksum, and counts in it where it is not null.
ALTER TABLE outbox ADD COLUMN message TEXT;
