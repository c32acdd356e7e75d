-- The gate of a held message is compared with that of its gate, which sorts by bytes; an index that sorts in another way cannot
-- be used for it, so each gate that was opened looked at all messages that were held in its queue.
ALTER TABLE {held} ALTER COLUMN gate TYPE text COLLATE "C";
