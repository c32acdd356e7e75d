//! What libpq's files say: services by name, and passwords. Only the program reads them, no library.

use std::path::{Path, PathBuf};

use mainspring_core::Error;

use crate::{Result, environment::Environment, output::Output};

/// Keys of a service, and the variables that say the same.
const KEYS: [(&str, &str); 10] = [
    ("host", "PGHOST"),
    ("port", "PGPORT"),
    ("user", "PGUSER"),
    ("password", "PGPASSWORD"),
    ("dbname", "PGDATABASE"),
    ("sslmode", "PGSSLMODE"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("application_name", "PGAPPNAME"),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
    ("options", "PGOPTIONS"),
];

/// The variables that stand for what the service named by `PGSERVICE` says, which comes before the variables themselves.
///
/// # Errors
/// Invalid, when no file has the service, or it says what is not understood.
pub(crate) fn service(environment: &Environment) -> Result<Vec<(&'static str, String)>> {
    let Some(name) = environment.get("PGSERVICE") else { return Ok(Vec::new()) };
    let own = match environment.get("PGSERVICEFILE") {
        Some(file) => Some(PathBuf::from(file)),
        None => environment.get("HOME").map(|home| Path::new(&home).join(".pg_service.conf")),
    };
    let common = environment.get("PGSYSCONFDIR").map(|folder| Path::new(&folder).join("pg_service.conf"));
    for file in own.into_iter().chain(common) {
        if let Some(found) = read(&file)?.map(|text| section(&text, &name)).transpose()?.flatten() {
            return Ok(found);
        }
    }
    Err(Error::invalid("PGSERVICE", format!("no file has `{}`", name.escape_debug())).into())
}

/// The text of the file of passwords, unless others may read it: then whoever asked is told.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn passwords(environment: &Environment, output: &Output) -> Result<Option<String>> {
    let file = match environment.get("PGPASSFILE") {
        Some(file) => Some(PathBuf::from(file)),
        None => environment.get("HOME").map(|home| Path::new(&home).join(".pgpass")),
    };
    let Some(file) = file else { return Ok(None) };
    if is_open(&file) {
        let file = file.display();
        output.note(format_args!("warning: {file} is not read, since others may read it; chmod 600"));
        return Ok(None);
    }
    read(&file)
}

#[cfg(unix)]
fn is_open(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file).is_ok_and(|facts| facts.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn is_open(_: &Path) -> bool {
    false
}

fn read(file: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}", file.display()).into()),
    }
}

fn section(text: &str, name: &str) -> Result<Option<Vec<(&'static str, String)>>, Error> {
    let lines = text.lines().map(str::trim);
    let mut inside =
        lines.skip_while(|line| line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) != Some(name));
    if inside.next().is_none() {
        return Ok(None);
    }
    let mut found = Vec::new();
    for line in inside.take_while(|line| !line.starts_with('[')) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let bad = |problem| Error::invalid("PGSERVICE", problem);
        let (key, value) =
            line.split_once('=').ok_or_else(|| bad("has a line that is not like key=value".into()))?;
        let key = key.trim();
        let known = KEYS.iter().find(|(known, _)| *known == key);
        let (_, variable) =
            known.ok_or_else(|| bad(format!("`{}` is not understood", key.escape_debug())))?;
        found.push((*variable, value.trim().to_owned()));
    }
    Ok(Some(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_found_by_its_name() {
        let text = "# ours\n[one]\nhost=a\n[two]\nhost = b\nport=5433\n\n# and\nuser=u\n[three]\nfoo=canary";
        let two = section(text, "two").unwrap().unwrap();
        assert_eq!(
            two,
            [("PGHOST", "b"), ("PGPORT", "5433"), ("PGUSER", "u")].map(|(k, v)| (k, v.to_owned()))
        );
        assert_eq!(section(text, "four").unwrap(), None);
        let bad = section(text, "three").unwrap_err().to_string();
        assert!(bad.contains("`foo`") && !bad.contains("canary"), "{bad}");
    }
}
