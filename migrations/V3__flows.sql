-- Flow definitions: a version never changes once it is stored. The order of versions is semantic, so it is not made here.
CREATE TABLE {flows} (
  id          text COLLATE "C" NOT NULL,
  version     text COLLATE "C" NOT NULL,
  name        text,
  description text,
  status      text NOT NULL CHECK (status IN ('draft', 'published', 'archived')),
  tags        text[] NOT NULL,
  definition  jsonb NOT NULL,
  created_at  timestamptz NOT NULL,
  PRIMARY KEY (id, version)
);
