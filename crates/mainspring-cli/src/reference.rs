//! The page of the book with every command, option and thing that can be configured, as the program itself knows them.

use std::fmt::Write;

use clap::{Arg, Command, CommandFactory};

use crate::{Cli, config::KEYS, report};

const HEAD: &str = "# Commands and configuration

Written by `cargo xtask reference` from the program; `cargo xtask tidy` keeps it true.
";

/// The page, as Markdown.
pub fn reference() -> String {
    let cli = Cli::command();
    let mut page = String::from(HEAD);
    let mut add = |line: &str| {
        page.push_str(line);
        page.push('\n');
    };
    add("\n## Commands\n\n| command | does |\n|---|---|");
    commands(&cli, cli.get_name(), &mut add);
    add("\n## Options of every command\n\n| option | is |\n|---|---|");
    for option in cli.get_arguments().filter(|option| option.is_global_set()) {
        add(&format!("| {} | {} |", flag(option), cell(&text(option.get_help()))));
    }
    add(
        "\n## Configuration\n\nAn option comes before its variable, that before a variable with `_FILE` behind its name, that before files, those before",
    );
    add(
        "the variables of others.\n\n| name in files | variable | variables of others | default | is |\n|---|---|---|---|---|",
    );
    for key in KEYS {
        let others: Vec<String> = key.others.iter().map(|name| format!("`{name}`")).collect();
        let default = key.default.map(|default| format!("`{default}`")).unwrap_or_default();
        add(&format!(
            "| `{}` | `{}` | {} | {default} | {} |",
            key.name,
            key.variable(),
            others.join(", "),
            cell(key.what)
        ));
    }
    add("\n## Exit codes\n\n| code | meaning |\n|---:|---|");
    report::CODES.iter().for_each(|(code, meaning)| add(&format!("| {code} | {meaning} |")));
    page
}

fn commands(command: &Command, path: &str, add: &mut impl FnMut(&str)) {
    for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        let path = format!("{path} {}", command.get_name());
        if command.has_subcommands() {
            commands(command, &path, add);
            continue;
        }
        let mut shown = format!("`{path}`");
        for argument in command.get_positionals() {
            let name = argument.get_id().as_str().to_uppercase();
            let _ = write!(shown, " {name}"); // a string takes everything
        }
        add(&format!("| {shown} | {} |", cell(&text(command.get_about()))));
    }
}

fn flag(option: &Arg) -> String {
    let long = option.get_long().map(|long| format!("`--{long}`"));
    let short = option.get_short().map(|short| format!("`-{short}`"));
    long.into_iter().chain(short).collect::<Vec<_>>().join(", ")
}

fn text(styled: Option<&clap::builder::StyledStr>) -> String {
    styled.map(ToString::to_string).unwrap_or_default()
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_there() {
        let page = reference();
        for line in [
            "| `mainspring setup` |",
            "| `mainspring explain` CODE |",
            "`MAINSPRING_DATABASE_URL`",
            "| 130 |",
        ] {
            assert!(page.contains(line), "{line} is not in\n{page}");
        }
    }
}
