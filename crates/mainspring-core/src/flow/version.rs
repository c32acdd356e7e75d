//! Versions of flows: semantic versions, ordered as such.

use std::cmp::Ordering;

use semver::Version;

use crate::{Error, Result, limits};

/// Reads a version.
///
/// # Errors
/// Invalid, naming the field `version`, when it is not a full semantic version: `1` and `1.2` are not.
pub fn parse_version(text: &str) -> Result<Version> {
    limits::check_name("version", text)?;
    Version::parse(text).map_err(|e| {
        Error::invalid("version", format!("`{text}` is not a semantic version such as 1.0.0: {e}"))
    })
}

/// Orders two versions, older first: `1.9.0` before `1.10.0`, `2.0.0-beta` before `2.0.0`. Text that is no version is older
/// than all that are.
pub fn compare_versions(a: &str, b: &str) -> Ordering {
    Version::parse(a).ok().cmp(&Version::parse(b).ok()).then_with(|| a.cmp(b))
}

/// The newest of some versions.
pub fn latest<'a>(versions: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    versions.into_iter().max_by(|a, b| compare_versions(a, b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_number() {
        // scenario F37
        let mut versions = ["1.10.0", "junk", "2.0.0", "1.9.0", "2.0.0-beta", "0.1.0"];
        versions.sort_by(|a, b| compare_versions(a, b));
        assert_eq!(versions, ["junk", "0.1.0", "1.9.0", "1.10.0", "2.0.0-beta", "2.0.0"]);
        assert_eq!(latest(["1.9.0", "1.10.0", "1.2.0"]), Some("1.10.0"));
        assert_eq!(latest([]), None);
    }

    #[test]
    fn half_a_version_is_refused() {
        for text in ["", "1", "1.2", "v1.0.0", "1.0.0 ", "01.0.0", "latest"] {
            let error = parse_version(text).unwrap_err();
            assert!(error.is_invalid() && error.to_string().starts_with("version: "), "{error}");
        }
        parse_version("1.2.3-rc.1+build").unwrap();
    }
}
