-- The queue. Where a message is says what state it is in: ready or claimed in `messages`, not yet due in `deferred`, given
-- up in `dead_letters`, done nowhere. A claim changes only columns without an index, so it stays within its page (HOT).
CREATE SEQUENCE {message_seq};
CREATE SEQUENCE {claim_token};

CREATE TABLE {messages} (
  queue        text COLLATE "C" NOT NULL,
  priority     smallint NOT NULL,
  seq          bigint NOT NULL DEFAULT nextval('{message_seq}'),
  token        bigint NOT NULL DEFAULT 0,
  holder       text,
  failures     integer NOT NULL DEFAULT 0,
  lost         integer NOT NULL DEFAULT 0,
  delays       integer NOT NULL DEFAULT 0,
  max_attempts integer NOT NULL,
  created_at   timestamptz NOT NULL,
  id           text NOT NULL,
  tenant       text NOT NULL,
  type         text NOT NULL,
  source       text,
  subject      text,
  recipient    text,
  data         jsonb NOT NULL,
  headers      jsonb,
  CONSTRAINT {prefix}messages_claimed CHECK ((holder IS NULL) = (token = 0))
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
CREATE UNIQUE INDEX {prefix}messages_order ON {messages} (queue, priority DESC, seq);
-- Messages that have cost two workers: claimed one at a time. It is nearly always empty.
CREATE INDEX {prefix}messages_suspects ON {messages} (queue, priority DESC, seq) WHERE lost >= 2;

CREATE TABLE {deferred} (
  available_at timestamptz NOT NULL CHECK (isfinite(available_at)),
  queue        text COLLATE "C" NOT NULL,
  priority     smallint NOT NULL,
  seq          bigint PRIMARY KEY DEFAULT nextval('{message_seq}'),
  failures     integer NOT NULL DEFAULT 0,
  lost         integer NOT NULL DEFAULT 0,
  delays       integer NOT NULL DEFAULT 0,
  max_attempts integer NOT NULL,
  created_at   timestamptz NOT NULL,
  id           text NOT NULL,
  tenant       text NOT NULL,
  type         text NOT NULL,
  source       text,
  subject      text,
  recipient    text,
  data         jsonb NOT NULL,
  headers      jsonb
);
CREATE INDEX {prefix}deferred_due ON {deferred} (available_at, seq);

CREATE TABLE {dead_letters} (
  queue        text COLLATE "C" NOT NULL,
  priority     smallint NOT NULL,
  seq          bigint PRIMARY KEY,
  failures     integer NOT NULL,
  lost         integer NOT NULL,
  delays       integer NOT NULL,
  max_attempts integer NOT NULL,
  created_at   timestamptz NOT NULL,
  id           text NOT NULL,
  tenant       text NOT NULL,
  type         text NOT NULL,
  source       text,
  subject      text,
  recipient    text,
  data         jsonb NOT NULL,
  headers      jsonb,
  reason       jsonb NOT NULL,
  dead_at      timestamptz NOT NULL
);
CREATE INDEX {prefix}dead_letters_queue ON {dead_letters} (queue, dead_at);

-- One liveness row per holder of leases. When it is out of date, all it holds is taken back at once and the row goes.
CREATE TABLE {workers} (
  id         text COLLATE "C" PRIMARY KEY,
  expires_at timestamptz NOT NULL,
  started_at timestamptz NOT NULL
) WITH (fillfactor = 30, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
