//! Jobs on Postgres: out-of-line work with claim tokens, checkpoints and progress.
