//! `mainspring config`, and what every command does with what is configured.

use serde_json::json;

use crate::ground::{Ground, run_in};

#[test]
fn every_value_is_shown_with_its_origin_and_no_secret_is() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let file = "prefix = 'a_'\nsecurity_token = 'canary'\n[profile.p]\nschema = 'b'";
    std::fs::write(at("mainspring.toml"), file).unwrap();
    std::fs::create_dir_all(at("home/.config/mainspring")).unwrap();
    std::fs::write(at("home/.config/mainspring/config.toml"), "queue = 'q'\nprefix = 'not this'").unwrap();
    std::fs::write(at("redis"), "redis://u:canary@r/0\n").unwrap();
    std::fs::write(at(".env"), "WORKFLOW_POSTGRES_WORKER_CONCURRENCY=7\nMAINSPRING_TENANT=not_this\n")
        .unwrap();
    let home = at("home").to_string_lossy().into_owned();
    let variables = [
        ("HOME", &*home),
        ("MAINSPRING_TENANT", "t"),
        ("MAINSPRING_REDIS_URL_FILE", "redis"),
        ("WORKFLOW_POSTGRES_URL", "postgres://u:canary@h/d"),
        ("DATABASE_URL", "postgres://not@this"),
        ("PGPASSWORD", "canary"),
        ("MAINSPRING_DATABSE_URL", "canary"),
    ];
    let arguments = ["config", "show", "--origin", "--profile", "p", "--timeout", "3s", "-o", "json"];
    let said = run_in(&folder, &arguments, &variables);
    assert!(!said.out.contains("canary") && !said.err.contains("canary"), "{said:?}");
    assert!(said.err.contains("did you mean MAINSPRING_DATABASE_URL?"), "{said:?}");
    let items = said.items();
    for (key, value, origin) in [
        ("timeout", "3s", "--timeout"),
        ("tenant", "t", "MAINSPRING_TENANT"),
        ("redis_url", "redis://***@r/0", "MAINSPRING_REDIS_URL_FILE"),
        ("schema", "b", "mainspring.toml [profile.p]"),
        ("prefix", "a_", "mainspring.toml"),
        ("security_token", "***", "mainspring.toml"),
        ("queue", "q", &*format!("{home}/.config/mainspring/config.toml")),
        ("concurrency", "7", "WORKFLOW_POSTGRES_WORKER_CONCURRENCY"),
        ("database_url", "postgres://u:***@h/d?sslmode=verify-full", "WORKFLOW_POSTGRES_URL"),
        ("app_port", "3000", "default"),
        ("PGPASSWORD", "***", "PGPASSWORD"),
    ] {
        let line = items.iter().find(|line| line["key"] == key).unwrap();
        assert_eq!((&line["value"], &line["origin"]), (&json!(value), &json!(origin)), "{key}");
    }
}

#[test]
fn the_files_that_are_read_are_told_and_what_is_wrong_in_them() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().to_string_lossy().into_owned();
    let run =
        |more: &[&str]| run_in(&folder, &[&["config"], more, &["-o", "json"]].concat(), &[("HOME", &*home)]);
    let there =
        |items: Vec<serde_json::Value>| items.iter().map(|it| it["there"] == true).collect::<Vec<_>>();
    assert_eq!(there(run(&["path"]).items()), [false, false]);
    let file = |text: &str| std::fs::write(folder.path().join("mainspring.toml"), text).unwrap();
    file("statement_timeout = '2m'\nretention = 'outputs=7d'");
    assert_eq!(there(run(&["path"]).items()), [true, false]);
    assert_eq!(run(&["check"]).json()["valid"], true);
    for wrong in [
        "prefix = 'a b'",
        "retention = 'outputs=never'",
        "statement_timeout = '0s'",
        "concurrency = 'many'",
        "database_url = 'postgres://h/d?sslmode=perhaps'",
        "migrate_url = 'canary'",
    ] {
        file(wrong);
        let said = run(&["check"]).refused(2);
        assert!(!said.contains("canary"), "{said}");
    }
}

#[test]
fn a_host_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let variables = [("DATABASE_URL", "postgres://me:canary@127.0.0.1:1/d")];
    for command in ["locks list", "migrate status", "doctor"] {
        let arguments: Vec<&str> = command.split(' ').collect();
        let said = run_in(&folder, &arguments, &variables).refused(6);
        assert!(said.contains("127.0.0.1") && !said.contains("canary"), "{command}: {said}");
    }
}

#[tokio::test]
async fn a_statement_ends_when_its_time_is_over() {
    let ground = Ground::new().await;
    let mut client = ground.db.client().await;
    let held = client.transaction().await.unwrap();
    held.batch_execute(&format!("LOCK TABLE {}", ground.db.names().table("leases"))).await.unwrap();
    let said = ground.run(&["locks", "list", "--statement-timeout", "300ms"]).refused(6);
    assert!(said.contains("statement timeout"), "{said}");
    ground.run(&["locks", "list", "--statement-timeout", "soon"]).refused(2);
}

#[test]
fn what_nobody_knows_is_refused_with_the_nearest_name() {
    let folder = tempfile::tempdir().unwrap();
    let show = |more: &[&str]| run_in(&folder, &[&["config", "show"], more].concat(), &[]);
    std::fs::write(folder.path().join("mainspring.toml"), "prefx = 'canary'").unwrap();
    let said = show(&[]).refused(2);
    assert!(said.contains("did you mean `prefix`?") && !said.contains("canary"), "{said}");
    std::fs::remove_file(folder.path().join("mainspring.toml")).unwrap();
    show(&["--profile", "none"]).refused(2);
    show(&["--config", "none.toml"]).refused(2);
    show(&["--timeout", "soon"]).refused(2);
    show(&["--output", "xml"]).refused(2);
}

/// `PGSERVICE` and `PGPASSFILE`, as libpq reads them: a service comes before the variables, and others may not read passwords.
#[tokio::test]
async fn libpqs_files_say_what_the_address_leaves_open() {
    use std::os::unix::fs::PermissionsExt;
    let ground = Ground::new().await;
    let at = |name: &str| ground.folder.path().join(name).to_string_lossy().into_owned();
    let (host, port) = ground.db.address().unwrap();
    let user = ground.db.url().split_once("://").unwrap().1.split(['@', ':']).next().unwrap().to_owned();
    let service = format!("[other]\nhost=nowhere\n[ours]\nhost={host}\nport={port}\nuser={user}\n");
    std::fs::write(at("services"), service + "sslmode=disable\n[bad]\nfoo=canary\n").unwrap();
    std::fs::write(at("passwords"), "*:*:*:*:canary\n").unwrap();
    let (services, passwords) = (at("services"), at("passwords"));
    let show = |name: &str| {
        let variables = [
            ("PGSERVICEFILE", &*services),
            ("PGSERVICE", name),
            ("PGPASSFILE", &*passwords),
            ("PGDATABASE", ground.db.name()),
            ("PGHOST", "nowhere-either"),
        ];
        run_in(&ground.folder, &["migrate", "status", "-o", "json"], &variables)
    };
    let mode = |mode| std::fs::set_permissions(&passwords, std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o644);
    assert!(show("ours").ok().err.contains("is not read"));
    mode(0o600);
    let said = show("ours").ok();
    assert!(said.err.contains(":***@") && !said.err.contains("canary"), "{said:?}");
    assert!(show("none").refused(2).contains("no file has `none`"));
    let bad = show("bad").refused(2);
    assert!(bad.contains("`foo`") && !bad.contains("canary"), "{bad}");
}

#[tokio::test]
async fn answers_are_yaml_and_logs_json_where_somebody_asks() {
    let ground = Ground::new().await;
    ground.run(&["queues", "create", "mail"]).ok();
    let said = ground.run(&["queues", "list", "-o", "yaml"]).ok();
    assert!(said.out.starts_with("---\n") && said.out.contains("\"name\": \"mail\""), "{said:?}");
    // a statement that fails is logged
    let logs =
        |format: &str| ground.run(&["queues", "list", "--prefix", "none_", "-vv", "--log-format", format]);
    let said = logs("json").refused(3);
    let log = said.lines().find_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    assert!(log.is_some_and(|log| log["level"] == "DEBUG"), "{said}");
    assert!(!logs("text").refused(3).contains("{\""));
    logs("xml").refused(2);
}

#[tokio::test]
async fn a_command_that_takes_too_long_ends_with_6_and_an_insecure_one_with_7() {
    let ground = Ground::new().await;
    ground.run(&["migrate", "status", "--timeout", "0ms"]).refused(6);
    let remote = "postgres://u:canary@db.example/d?sslmode=prefer";
    let said = ground.run(&["migrate", "status", "--database-url", remote]).refused(7);
    assert!(!said.contains("canary"), "{said}");
}
