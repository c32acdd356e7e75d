-- The life of the server. A table without WAL is empty after a crash, so whoever finds its row unchanged knows that there was
-- none: a server that crashes hands out again the transaction ids whose records it had not written yet, and then what it
-- says of such an id is about somebody else.
CREATE UNLOGGED TABLE {incarnation} (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  id  uuid NOT NULL DEFAULT pg_catalog.gen_random_uuid()
);
