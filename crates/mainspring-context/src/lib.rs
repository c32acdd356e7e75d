//! Large context values on Postgres, beside the execution that owns them.
