//! What `cargo xtask tidy` demands of the book in docs/: every page listed, every link, include and error code there.

mod codes;
mod links;
mod pages;
mod proofs;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

pub(crate) use pages::Page;

/// Everything that is wrong with the book.
pub(crate) fn problems(root: &Path) -> io::Result<Vec<String>> {
    let pages = pages::all(&root.join("docs"))?;
    let mut found = pages::unlisted(&pages);
    found.extend(links::problems(root, &pages));
    found.extend(pages::untested(&pages, &fs::read_to_string(root.join("tests/src/book.rs"))?));
    found.extend(codes::problems(root, &pages)?);
    found.extend(proofs::problems(root, &pages)?);
    Ok(found)
}

/// All files with this ending below a folder, in the order of their names.
fn below(folder: &Path, ending: &str) -> io::Result<Vec<PathBuf>> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|is| is == ending) {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}
