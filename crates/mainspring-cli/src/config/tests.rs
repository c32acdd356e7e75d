//! The order of the sources, pair by pair, and what is shown of secrets.

use std::path::Path;

use super::*;

/// One key set in every source at once, so that taking sources away from the top shows who is next.
#[test]
fn each_source_comes_before_all_that_follow_it() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "postgres://from-file/d\n").unwrap();
    let in_file = secret.to_string_lossy().into_owned();
    let variables: &[(&str, &str)] = &[
        ("MAINSPRING_DATABASE_URL", "postgres://variable/d"),
        ("MAINSPRING_DATABASE_URL_FILE", &in_file),
        ("WORKFLOW_POSTGRES_URL", "postgres://workflow/d"),
        ("POSTGRES_CONNECTION_STRING", "postgres://arvo/d"),
        ("DATABASE_URL", "postgres://common/d"),
    ];
    let expected = [
        ("postgres://option/d", "--database-url"),
        ("postgres://variable/d", "MAINSPRING_DATABASE_URL"),
        ("postgres://from-file/d", "MAINSPRING_DATABASE_URL_FILE"),
        ("postgres://profile/d", "project.toml [profile.p]"),
        ("postgres://project/d", "project.toml"),
        ("postgres://user/d", "user.toml"),
        ("postgres://workflow/d", "WORKFLOW_POSTGRES_URL"),
        ("postgres://arvo/d", "POSTGRES_CONNECTION_STRING"),
        ("postgres://common/d", "DATABASE_URL"),
    ];
    for gone in 0..=expected.len() {
        let here = |n: usize| n >= gone;
        let set: Vec<(&str, &str)> = variables
            .iter()
            .zip([1, 2, 6, 7, 8])
            .filter(|(_, n)| here(*n))
            .map(|(variable, _)| *variable)
            .collect();
        let environment = Environment::of(&set);
        let mut files = Vec::new();
        if here(4) {
            let profile = if here(3) { "\n[profile.p]\ndatabase_url = 'postgres://profile/d'" } else { "" };
            let text = format!("database_url = 'postgres://project/d'{profile}");
            files.push(File::parse(Path::new("project.toml"), &text).unwrap());
        }
        if here(5) {
            files.push(File::parse(Path::new("user.toml"), "database_url = 'postgres://user/d'").unwrap());
        }
        let option = here(0).then(|| "postgres://option/d".to_owned());
        let options = vec![("database_url", option)];
        let sources = Sources { options, environment: &environment, files, profile: Some("p".to_owned()) };
        let config = Config::resolve(&sources).unwrap();
        let found = config.setting("database_url").map(|found| (&*found.value, &*found.origin));
        assert_eq!(found, expected.get(gone).copied(), "without the first {gone}");
        assert_eq!(config.setting("prefix").map(|found| &*found.origin), Some("default"));
    }
}

#[test]
fn every_key_is_heard_from_every_variable_of_its() {
    for key in KEYS {
        for name in std::iter::once(key.variable()).chain(key.others.iter().map(|name| (*name).to_owned())) {
            let environment = Environment::of(&[(&name, "7")]);
            let sources =
                Sources { options: vec![], environment: &environment, files: vec![], profile: None };
            let config = Config::resolve(&sources).unwrap();
            assert_eq!(config.get(key.name), Some("7"), "{name}");
            assert_eq!(config.setting(key.name).map(|found| found.origin.clone()), Some(name));
        }
    }
}

#[test]
fn secrets_are_not_shown() {
    let of = |name: &str| KEYS.iter().find(|key| key.name == name).unwrap();
    for (name, value) in [
        ("security_token", "canary"),
        ("database_url", "postgres://u:canary@h/d"),
        ("database_url", "host=h password=canary"),
        ("database_url", "postgress://u:canary@h/d"),
        ("database_url", "canary"),
        ("redis_url", "redis://:canary@h:6379/0"),
        ("redis_url", "redis://u:ca@nary:canary@h:6379/0?password=canary"),
        ("app_url", "https://u:canary@h/x"),
    ] {
        let shown = shown(of(name), value);
        assert!(!shown.contains("canary"), "{shown}");
        assert!(!shown.is_empty());
    }
    assert_eq!(shown(of("redis_url"), "redis://h:6379/0"), "redis://h:6379/0");
    assert_eq!(shown(of("prefix"), "fm_"), "fm_");
}

#[test]
fn a_variable_that_is_nearly_ours_is_noticed() {
    let names = ["MAINSPRING_DATABSE_URL", "MAINSPRING_SERVICE_HOST", "MAINSPRING_PREFIX", "PATH"];
    let found = mistyped(names.map(str::to_owned).into_iter());
    assert_eq!(found, [("MAINSPRING_DATABSE_URL".to_owned(), "MAINSPRING_DATABASE_URL".to_owned())]);
}
