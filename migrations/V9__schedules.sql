-- Schedules: messages to be pushed again and again. `next_fire_at` is the compare-and-set that makes each tick fire once;
-- `due_at` is when to look at the row, which is later than its tick after a failure and never while it is paused or over.
CREATE TABLE {schedules} (
  queue        text COLLATE "C" NOT NULL,
  key          text COLLATE "C" NOT NULL,
  revision     bigint NOT NULL DEFAULT 1,
  timing       jsonb NOT NULL,
  missed       jsonb NOT NULL,
  message      jsonb NOT NULL,
  jitter_us    bigint NOT NULL DEFAULT 0 CHECK (jitter_us >= 0),
  starts_at    timestamptz,
  ends_at      timestamptz,
  anchor_at    timestamptz NOT NULL,
  paused_at    timestamptz,
  next_fire_at timestamptz,
  due_at       timestamptz,
  last_fire_at timestamptz,
  last_error   text,
  created_at   timestamptz NOT NULL,
  updated_at   timestamptz NOT NULL,
  PRIMARY KEY (queue, key),
  CONSTRAINT {prefix}schedules_due CHECK (due_at IS NULL OR (next_fire_at IS NOT NULL AND paused_at IS NULL))
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
CREATE INDEX {prefix}schedules_next ON {schedules} (due_at) WHERE due_at IS NOT NULL;

-- What became of each tick that was looked at. One row per tick and outcome, so that a tick cannot be recorded twice.
CREATE TABLE {schedule_fires} (
  queue      text COLLATE "C" NOT NULL,
  key        text COLLATE "C" NOT NULL,
  tick       timestamptz NOT NULL,
  outcome    text NOT NULL CHECK (outcome IN ('fired', 'skipped', 'run_now')),
  missed     integer NOT NULL,
  fired_at   timestamptz NOT NULL,
  message_id text,
  PRIMARY KEY (queue, key, tick, outcome)
);
CREATE INDEX {prefix}schedule_fires_old ON {schedule_fires} (fired_at);

-- Who gets what is published to a topic: one row per pattern and queue.
CREATE TABLE {subscriptions} (
  topic      text COLLATE "C" NOT NULL,
  queue      text COLLATE "C" NOT NULL,
  wild       boolean NOT NULL,
  created_at timestamptz NOT NULL,
  PRIMARY KEY (topic, queue)
);
CREATE INDEX {prefix}subscriptions_wild ON {subscriptions} (topic) WHERE wild;

-- Who does the upkeep: one row, leased, with a number that grows with every holder. Every write of upkeep locks it in share
-- mode first, so that nothing of an older term is written after a newer one began.
CREATE TABLE {upkeep} (
  name        text PRIMARY KEY,
  holder      text NOT NULL,
  term        bigint NOT NULL,
  expires_at  timestamptz NOT NULL,
  counted_at  timestamptz,
  retained_at timestamptz
) WITH (fillfactor = 30, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

-- How full each queue was: one row per queue that was not empty, or was not the time before. Rows of one count have one time.
CREATE TABLE {queue_stats} (
  queue     text COLLATE "C" NOT NULL,
  at        timestamptz NOT NULL,
  ready     bigint NOT NULL,
  claimed   bigint NOT NULL,
  deferred  bigint NOT NULL,
  dead      bigint NOT NULL,
  oldest_us bigint NOT NULL,
  PRIMARY KEY (queue, at)
);
CREATE INDEX {prefix}queue_stats_at ON {queue_stats} (at);

-- When to warn about a queue, where it is not as about all others.
CREATE TABLE {queue_watches} (
  queue     text COLLATE "C" PRIMARY KEY,
  backlog   bigint CHECK (backlog > 0),
  oldest_us bigint CHECK (oldest_us > 0)
);

CREATE TABLE {queue_warnings} (
  seq      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind     text NOT NULL,
  subject  text NOT NULL,
  value    bigint NOT NULL,
  most     bigint NOT NULL,
  at       timestamptz NOT NULL
);
CREATE INDEX {prefix}queue_warnings_kind ON {queue_warnings} (kind, subject, at);
CREATE INDEX {prefix}queue_warnings_at ON {queue_warnings} (at);
