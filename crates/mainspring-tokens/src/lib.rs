//! Resume tokens on Postgres: 256-bit secrets, hashed at rest, spent once.
