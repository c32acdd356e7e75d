//! The folder of one server: `data/`, the unix socket, the log, and the lock that says whose it is.

use crate::{
    account::Account,
    error::{Doing, Error, Result},
    options::Storage,
};
use rustix::fs::OFlags;
use std::{
    fs::{self, DirBuilder, File, Permissions},
    hash::{BuildHasher, Hasher, RandomState},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

const LOCK: &str = "owner.lock";

/// A unix socket's path has to fit into 104 bytes (macOS; 108 on Linux).
const LONGEST_SOCKET_DIR: usize = 103 - "/.s.PGSQL.65535.lock".len();

#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
    pub(crate) throwaway: bool,
    short_socket_dir: Option<PathBuf>,
    _lock: File, // the kernel frees it when we die
}

impl Folder {
    pub(crate) fn open(storage: &Storage, account: &Account) -> Result<Folder> {
        match storage {
            Storage::Throwaway => Folder::throwaway("pg", account),
            Storage::Durable(path) => Folder::durable(path, account),
        }
    }

    /// A new folder with a name of its own in the temporary folder.
    pub(crate) fn throwaway(kind: &str, account: &Account) -> Result<Folder> {
        let path = private_folder(kind, account)?;
        Ok(Folder { _lock: lock(&path)?, path, throwaway: true, short_socket_dir: None })
    }

    fn durable(path: &Path, account: &Account) -> Result<Folder> {
        fs::create_dir_all(path).doing("create", path)?;
        let path = path.canonicalize().doing("find", path)?;
        account.reaches(&path)?;
        let empty = path.read_dir().doing("read", &path)?.next().is_none();
        if !empty && !path.join(LOCK).exists() {
            return Err(Error::NotOurs { folder: path }); // do not hand somebody's home to `postgres`
        }
        let lock = lock(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o700)).doing("close", &path)?;
        account.own(&path)?;
        let too_long = path.as_os_str().len() > LONGEST_SOCKET_DIR;
        let short_socket_dir = too_long.then(|| private_folder("socket", account)).transpose()?;
        Ok(Folder { path, throwaway: false, short_socket_dir, _lock: lock })
    }

    /// What is to be removed when this folder's owner is gone.
    pub(crate) fn temporary(&self) -> Vec<&Path> {
        let own = self.throwaway.then_some(&self.path);
        own.into_iter().chain(&self.short_socket_dir).map(PathBuf::as_path).collect()
    }

    /// Where the unix socket is: in the folder, unless its name is too long for one.
    pub(crate) fn socket_dir(&self) -> &Path {
        self.short_socket_dir.as_ref().unwrap_or(&self.path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        for folder in self.temporary() {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// Opens a file in a folder that belongs to the server's user, perhaps as root: follows no symlink put there.
pub(crate) fn append_to(path: &Path) -> Result<File> {
    let mut options = File::options();
    options.create(true).append(true).custom_flags(OFlags::NOFOLLOW.bits() as i32);
    options.open(path).doing("open", path)
}

pub(crate) fn random() -> String {
    // the hasher is seeded anew for each `RandomState`: unguessable enough for a name, and no dependency
    format!("{:012x}", RandomState::new().build_hasher().finish() >> 16)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The temporary folder, unless the server's user cannot use it; the guard removes folders as that user.
fn temporary_root(account: &Account) -> PathBuf {
    let ours = std::env::temp_dir();
    if account.may_write_in(&ours) { ours } else { "/tmp".into() }
}

fn private_folder(kind: &str, account: &Account) -> Result<PathBuf> {
    let path = temporary_root(account).join(format!("mainspring-{kind}-{}", random()));
    DirBuilder::new().mode(0o700).create(&path).doing("create", &path)?; // fails if it exists: never shared
    account.own(&path)?;
    Ok(path)
}

fn lock(folder: &Path) -> Result<File> {
    let path = folder.join(LOCK);
    let file = append_to(&path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(Error::InUse { folder: folder.into() }),
        Err(fs::TryLockError::Error(source)) => Err(Error::Io { doing: "lock", path, source }),
    }
}
