//! Durable workflows, queues and event streams on the Postgres you already run.
