//! Ids and versions of runs.

use std::time::Duration;

use mainspring_core::{Error, Execution, ExecutionId, Result, Timestamp};
use ulid::Ulid;

/// The rules under which runs are created here.
pub const SPEC_VERSION: u32 = 2;

/// In front of the rules in a row's version; nothing with code of the engine has such a version.
const VERSION_PREFIX: &str = "world-";
/// In front of the ULID of a run's id.
const ID_PREFIX: &str = "wrun_";
/// The deployment of runs that name none.
pub(crate) const DEPLOYMENT: &str = "postgres";

const OLDEST: Duration = Duration::from_secs(24 * 3600);
const NEWEST: Duration = Duration::from_secs(5 * 60);

/// A fresh id of a run that is made at `now`.
pub fn new_run_id(now: Timestamp) -> ExecutionId {
    ExecutionId::from_stored(format!("{ID_PREFIX}{}", Ulid::from_datetime(now.into())))
}

/// Checks an id that a client chose: `wrun_` and a ULID whose time is at most a day ago and five minutes ahead.
///
/// # Errors
/// Invalid, naming the rule.
pub(crate) fn check_run_id(id: &ExecutionId, now: Timestamp) -> Result<()> {
    let ulid = id.as_str().strip_prefix(ID_PREFIX).and_then(|text| Ulid::from_string(text).ok());
    let Some(ulid) = ulid else {
        return Err(Error::invalid("runId", format!("`{id}` is not `{ID_PREFIX}` and a ULID")));
    };
    let micros = i64::try_from(ulid.timestamp_ms()).unwrap_or(i64::MAX).saturating_mul(1_000);
    let made = Timestamp::from_micros(micros);
    if made < now - OLDEST || made > now + NEWEST {
        let problem = format!("was made at {made}, more than 24 hours ago or 5 minutes ahead");
        return Err(Error::invalid("runId", problem));
    }
    Ok(())
}

pub(crate) fn version_of(spec: u32) -> String {
    format!("{VERSION_PREFIX}{spec}")
}

/// Whether a run has no code in the engine, so that the World writes its row.
pub(crate) fn is_world(row: &Execution) -> bool {
    row.flow_version.starts_with(VERSION_PREFIX)
}

/// The rules a run was created under; 0 for one of the engine's.
pub(crate) fn spec_of(row: &Execution) -> u32 {
    row.flow_version.strip_prefix(VERSION_PREFIX).and_then(|spec| spec.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_a_client_is_of_about_now() {
        // W22
        let now = Timestamp::from_micros(1_700_000_000_000_000);
        let id = |offset: i64| {
            let ms = u64::try_from(now.as_micros() / 1_000 + offset * 1_000).unwrap();
            ExecutionId::new(format!("wrun_{}", Ulid::from_parts(ms, 7))).unwrap()
        };
        for (offset, fits) in [(0, true), (-86_399, true), (-86_401, false), (299, true), (301, false)] {
            assert_eq!(check_run_id(&id(offset), now).is_ok(), fits, "{offset}");
        }
        for other in ["wrun_x", "exec_1", "01ARZ3NDEKTSV4RRFFQ69G5FAV"] {
            assert!(check_run_id(&ExecutionId::new(other).unwrap(), now).unwrap_err().is_invalid());
        }
    }
}
