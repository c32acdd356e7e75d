//! Where fetched binaries and durable data are kept.
//!
//! Root's home is closed to the user the server runs as, so root keeps both in `/var/lib/mainspring`.

use crate::folder::hex;
use sha2::{Digest, Sha256};
use std::{
    env,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

const ROOTS_PLACE: &str = "/var/lib/mainspring";

/// The folder of fetched binaries.
pub(crate) fn cache(chosen: Option<&Path>) -> PathBuf {
    let chosen = chosen.map(Path::to_path_buf).or_else(|| set("MAINSPRING_CACHE_DIR"));
    chosen.unwrap_or_else(|| place("XDG_CACHE_HOME", ".cache"))
}

/// A place for durable data that the server's user can reach: one folder for each `key`, which is usually the
/// path of the workspace or program the data belongs to.
///
/// For root it is below `/var/lib/mainspring/data`; for everyone else below `~/.local/share/mainspring/data`.
pub fn durable_folder(key: impl AsRef<Path>) -> PathBuf {
    let hash = hex(&Sha256::digest(key.as_ref().as_os_str().as_bytes())[..6]);
    place("XDG_DATA_HOME", ".local/share").join("data").join(hash)
}

/// A variable that is there but empty counts as not set.
pub(crate) fn set(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn place(variable: &str, below_home: &str) -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return ROOTS_PLACE.into();
    }
    let base = set(variable).or_else(|| set("HOME").map(|home| home.join(below_home)));
    base.unwrap_or_else(env::temp_dir).join("mainspring")
}
