//! What Redis says of itself, where one is used. Asking it is its driver's part; here it is judged.

use crate::{Code, Finding};

/// Settings of a Redis server, as it says itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisFacts {
    /// `maxmemory-policy`, such as `noeviction`.
    pub maxmemory_policy: String,
    /// Whether `appendonly` is `yes`.
    pub append_only: bool,
}

/// A message that Redis throws away comes late, since Postgres has it; one that it refuses is noticed.
pub fn judge_redis(facts: &RedisFacts) -> Vec<Finding> {
    let mut found = Vec::new();
    if facts.maxmemory_policy != "noeviction" {
        let problem =
            format!("is {}: when memory is short, messages are thrown away", facts.maxmemory_policy);
        let mend = "redis-cli CONFIG SET maxmemory-policy noeviction && redis-cli CONFIG REWRITE";
        found
            .push(Finding::new(Code::RedisEvicts, "Redis setting maxmemory-policy", problem).mended_by(mend));
    }
    if !facts.append_only {
        let problem = "is no: a restart of Redis forgets what was handed to it";
        let mend = "redis-cli CONFIG SET appendonly yes && redis-cli CONFIG REWRITE";
        found.push(Finding::new(Code::RedisForgets, "Redis setting appendonly", problem).mended_by(mend));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f66_a_redis_that_evicts_or_forgets_is_found() {
        let facts = |policy: &str, append_only| RedisFacts { maxmemory_policy: policy.into(), append_only };
        assert_eq!(judge_redis(&facts("noeviction", true)), []);
        assert_eq!(judge_redis(&facts("allkeys-lru", true))[0].code, Code::RedisEvicts);
        assert_eq!(judge_redis(&facts("noeviction", false))[0].code, Code::RedisForgets);
    }
}
