-- What retention took out of its table and was told to keep. `data` is the row as it was, with what went along with it; nothing of
-- the library reads it.
CREATE TABLE {archive} (
  seq         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind        text COLLATE "C" NOT NULL,
  id          text COLLATE "C" NOT NULL,
  tenant      text COLLATE "C" NOT NULL,
  ended_at    timestamptz NOT NULL,
  archived_at timestamptz NOT NULL,
  data        jsonb NOT NULL
);
CREATE INDEX {prefix}archive_id ON {archive} (kind, id);

-- By age. Building them locks the tables against writes.
CREATE INDEX {prefix}tokens_created ON {resume_tokens} (created_at);
CREATE INDEX {prefix}context_created ON {context_values} (created_at);
