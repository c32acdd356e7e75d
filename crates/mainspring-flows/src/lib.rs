//! Flow definitions on Postgres: immutable versions, latest by semver.
