//! The user a server runs as.
//!
//! Postgres refuses to run as root. Root therefore starts it as `postgres`, or else as `nobody`, and has to
//! put everything the server needs where that user can reach it. Everyone else starts it as themselves.

use crate::error::{Doing, Error, Result};
use std::{
    ffi::OsStr,
    fs,
    os::unix::{
        fs::{MetadataExt, chown},
        process::CommandExt,
    },
    path::Path,
    process::{Command, Stdio},
};

const WRITE: u32 = 0o2;
const ENTER: u32 = 0o1;

/// Whom the server runs as: ourselves, or the user root steps down to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Account {
    Ourselves,
    Other { name: String, uid: u32, gid: u32 },
}

impl Account {
    /// `Ourselves` for everyone but root.
    pub(crate) fn pick() -> Account {
        if !rustix::process::geteuid().is_root() {
            return Account::Ourselves;
        }
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        ["postgres", "nobody"].iter().find_map(|name| entry(&passwd, name)).unwrap_or(Account::Other {
            name: "nobody".into(),
            uid: 65534,
            gid: 65534,
        })
    }

    /// A command that runs as this user, in `/`, away from our terminal's Ctrl-C, and deaf to the caller's
    /// `PG*` variables and language.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        if let Account::Other { uid, gid, .. } = self {
            command.uid(*uid).gid(*gid); // std also drops root's supplementary groups here
        }
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        command.env("LC_ALL", "C").current_dir("/").process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Makes the file or folder this user's own.
    pub(crate) fn own(&self, path: &Path) -> Result<()> {
        match self {
            Account::Ourselves => Ok(()),
            Account::Other { uid, gid, .. } => chown(path, Some(*uid), Some(*gid)).doing("hand over", path),
        }
    }

    /// Checks that this user may walk to `path`: every existing folder above it must let them through.
    pub(crate) fn reaches(&self, path: &Path) -> Result<()> {
        let Account::Other { name, .. } = self else { return Ok(()) };
        match path.ancestors().skip(1).find(|folder| !self.has(folder, ENTER)) {
            None => Ok(()),
            Some(barrier) => {
                Err(Error::Unreachable { path: path.into(), barrier: barrier.into(), user: name.clone() })
            }
        }
    }

    /// Whether this user may make and remove things in `folder`.
    pub(crate) fn may_write_in(&self, folder: &Path) -> bool {
        self.reaches(&folder.join("it")).is_ok() && self.has(folder, WRITE)
    }

    /// A folder that does not exist yet forbids nothing.
    fn has(&self, folder: &Path, right: u32) -> bool {
        match (self, folder.metadata()) {
            (Account::Other { uid, .. }, Ok(meta)) if meta.uid() == *uid => meta.mode() & (right << 6) != 0,
            (Account::Other { gid, .. }, Ok(meta)) if meta.gid() == *gid => meta.mode() & (right << 3) != 0,
            (Account::Other { .. }, Ok(meta)) => meta.mode() & right != 0,
            _ => true,
        }
    }
}

fn entry(passwd: &str, name: &str) -> Option<Account> {
    let fields = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|f| f[0] == name)?;
    let id = |at: usize| fields.get(at)?.parse::<i64>().ok().map(|id| id as u32); // macOS: nobody is -2
    Some(Account::Other { name: name.into(), uid: id(2)?, gid: id(3)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn reads_passwd_lines_also_the_negative_ones_of_macos() {
        let passwd = "root:x:0:0::/root:/bin/sh\nnobody:*:-2:-2:Unprivileged:/var/empty:/usr/bin/false\n";
        let nobody = Account::Other { name: "nobody".into(), uid: u32::MAX - 1, gid: u32::MAX - 1 };
        assert_eq!(entry(passwd, "nobody"), Some(nobody));
        assert_eq!(entry(passwd, "postgres"), None);
    }

    #[test]
    fn a_closed_folder_on_the_way_is_named() {
        let home = tempfile::tempdir().unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let stranger = Account::Other { name: "stranger".into(), uid: 54321, gid: 54321 };
        let Err(Error::Unreachable { barrier, .. }) = stranger.reaches(&home.path().join("data")) else {
            panic!("a folder of mode 0700 let a stranger in");
        };
        assert_eq!(barrier, home.path());
        assert!(Account::Ourselves.reaches(&home.path().join("data")).is_ok());
    }
}
