//! Embeds `migrations/V<n>__<name>.sql`, and what they say a finished schema looks like.
//!
//! Whatever would only surface in a production database fails here: gaps in the numbers, names refinery would cut, line ends
//! that change a checksum. An empty folder is fine.

#[path = "build/parse.rs"]
mod parse;

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let places = [here.join("migrations"), here.join("../../migrations")];
    let folder =
        places.iter().find(|place| place.is_dir()).ok_or("there is no migrations folder")?.canonicalize()?;
    println!("cargo::rerun-if-changed={}", folder.display());
    println!("cargo::rerun-if-changed=build");

    let mut files = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "sql") {
            continue;
        }
        let stem =
            path.file_stem().and_then(|stem| stem.to_str()).ok_or("a file name is not text")?.to_owned();
        let (version, name) = stem
            .strip_prefix('V')
            .and_then(|rest| rest.split_once("__"))
            .ok_or(format!("{stem}: not V<n>__<name>.sql"))?;
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err(format!("{stem}: only letters, digits and _ are allowed after __").into());
        }
        let version: usize = version.parse()?;
        files.push((version, stem, path));
    }
    files.sort();

    let mut schema = parse::Schema::default();
    let mut list = String::new();
    for (i, (version, stem, path)) in files.iter().enumerate() {
        if *version != i + 1 {
            return Err(format!("{stem}: versions must be 1, 2, … without gaps").into());
        }
        let sql = fs::read_to_string(path)?;
        if sql.contains('\r') {
            return Err(format!("{stem}: CRLF line ends would change the checksum").into());
        }
        schema.read(&sql).map_err(|problem| format!("{stem}: {problem}"))?;
        list += &format!("    ({stem:?}, include_str!({:?})),\n", path.display().to_string());
        println!("cargo::rerun-if-changed={}", path.display());
    }

    let longest = schema.longest_suffix.max("schema_history".len());
    let mut out = format!(
        "/// Name and text of every migration.\npub(crate) static MIGRATIONS: &[(&str, &str)] = &[\n{list}];\n"
    );
    out += &format!(
        "/// Bytes of the longest name after the prefix.\npub(crate) const LONGEST_SUFFIX: usize = {longest};\n"
    );
    out += "/// Tables with their columns and types.\npub(crate) static TABLES: &[(&str, &[(&str, &str)])] = &[\n";
    for (table, columns) in &schema.tables {
        out += &format!("    ({table:?}, &{columns:?}),\n");
    }
    out += "];\n/// Everything else, in the order of creation.\npub(crate) static OTHERS: &[(&str, &str)] = &[\n";
    for other in &schema.others {
        out += &format!("    {other:?},\n");
    }
    out += "];\n";
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("migrations.rs"), out)?;
    Ok(())
}
