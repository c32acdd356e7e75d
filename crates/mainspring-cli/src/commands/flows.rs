//! `mainspring flows`: definitions, here and in files.

use std::{collections::BTreeSet, fmt::Write, path::PathBuf, process::ExitCode};

use mainspring::{Backend, Error, Flow, FlowFilter, FlowStore, Saved};
use serde_json::{Value, json};

use crate::{
    Context, Outcome, Result,
    graph::Graph,
    output::{Column, Format, Page, col, data, detail, maybe, text},
    spans::At,
    words::{self, PageArgs},
};

#[derive(clap::Subcommand)]
pub(crate) enum Flows {
    /// The latest version of each, by id.
    #[command(after_help = "Example:\n  mainspring flows list --tag billing --id-prefix order -o json")]
    List {
        /// The latest with this status: draft, published or archived.
        #[arg(long, default_value = "published")]
        status: String,
        /// Only with this tag.
        #[arg(long)]
        tag: Option<String>,
        /// Only with ids that begin so.
        #[arg(long, value_name = "TEXT")]
        id_prefix: Option<String>,
        #[command(flatten)]
        page: PageArgs,
    },
    /// One of them, with its versions.
    #[command(
        after_help = "Example:\n  mainspring flows get order --version 1.2.0 --definition > order.json"
    )]
    Get {
        /// Its id.
        id: String,
        /// The version [default: the latest].
        #[arg(long)]
        version: Option<String>,
        /// Write the definition as it can be saved again.
        #[arg(long)]
        definition: bool,
    },
    /// Store a definition. A version that is there with another content is a conflict.
    #[command(after_help = "Example:\n  mainspring flows save order.json")]
    Save {
        /// Its file, or - for standard input.
        file: String,
    },
    /// Check a definition; needs no database. Says line and column of what is wrong.
    #[command(after_help = "Example:\n  mainspring flows validate order.json")]
    Validate {
        /// Its files, or - for standard input.
        #[arg(required = true)]
        files: Vec<String>,
        /// A handler that the application has beside the built-in ones; may be said several times. Without, any is fine.
        #[arg(long = "handler", value_name = "NAME")]
        handlers: Vec<String>,
    },
    /// What differs between two definitions; ends with 1 when something does.
    #[command(after_help = "Example:\n  mainspring flows diff order@1.0.0 order.json")]
    Diff {
        /// A file, or the id of a flow with or without @version.
        old: String,
        /// The same.
        new: String,
    },
    /// Draw the steps.
    #[command(after_help = "Example:\n  mainspring flows graph order.json --svg order.svg")]
    Graph {
        /// A file, or the id of a flow with or without @version.
        flow: String,
        /// Write a picture into this file.
        #[arg(long, value_name = "FILE")]
        svg: Option<PathBuf>,
    },
}

struct Listed {
    flow: Flow,
    versions: Vec<String>,
}

const COLUMNS: &[Column<Listed>] = &[
    col("id", |it| text(&it.flow.id)),
    col("version", |it| text(&it.flow.version)),
    col("status", |it| text(it.flow.status)),
    col("steps", |it| it.flow.steps.len().into()),
    col("name", |it| maybe(it.flow.name.as_ref())),
    detail("description", |it| maybe(it.flow.description.as_ref())),
    detail("tags", |it| json!(it.flow.tags)),
    detail("initial_step", |it| text(&it.flow.initial_step_id)),
    detail("versions", |it| if it.versions.is_empty() { Value::Null } else { json!(it.versions) }),
    data("definition", |it| it.flow.to_value()),
];

impl Flows {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let output = &context.output;
        match self {
            Self::List { status, tag, id_prefix: prefix, page: PageArgs { limit, after } } => {
                let filter = FlowFilter { status: status.parse()?, prefix, tag, after, limit };
                let found = context.stores()?.flows().list(filter).await?;
                let found = found.into_iter().map(|flow| Listed { flow, versions: Vec::new() }).collect();
                let page = Page::keyed(found, limit, |last: &Listed| last.flow.id.clone());
                output.list(COLUMNS, &page, false)?;
            }
            Self::Get { id, version, definition } => {
                let flow = stored(context, &id, version.as_deref()).await?;
                if definition {
                    output.line(&serde_json::to_string_pretty(&flow.to_value())?)?;
                    return Ok(ExitCode::SUCCESS);
                }
                let versions = context.stores()?.flows().versions(&id).await?;
                output.one(COLUMNS, &Listed { flow, versions }, true)?;
            }
            Self::Save { file } => {
                let flow = read(&file)?;
                if !context.confirmed_one("save", &format!("{}@{}", flow.id, flow.version))? {
                    return Ok(ExitCode::SUCCESS);
                }
                let new = context.stores()?.flows().save(&flow).await? == Saved::Created;
                let what = if new { "saved" } else { "there already" };
                let facts = json!({"id": flow.id, "version": flow.version, "created": new});
                output.done(&format!("{}@{} {what}", flow.id, flow.version), facts)?;
            }
            Self::Validate { files, handlers } => {
                for file in &files {
                    let flow = read(file)?;
                    check_handlers(file, &flow, &handlers)?;
                    let facts = json!({"file": file, "id": flow.id, "version": flow.version, "valid": true});
                    output.done(&format!("{file}: {}@{} is valid", flow.id, flow.version), facts)?;
                }
            }
            Self::Diff { old, new } => {
                let (old, new) = (named(context, &old).await?, named(context, &new).await?);
                return diff(context, &old, &new);
            }
            Self::Graph { flow, svg } => {
                let graph = Graph::of_flow(&named(context, &flow).await?)?;
                match svg {
                    Some(file) => {
                        std::fs::write(&file, graph.svg())
                            .map_err(|error| format!("{}: {error}", file.display()))?;
                        output.note(format_args!("the picture is in {}", file.display()));
                    }
                    None => output.done(&graph.text(), json!({"graph": graph.text()}))?,
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The definition in a file; an error shows where in it.
pub(crate) fn read(file: &str) -> Result<Flow> {
    let text = words::text(&if file == "-" { file.to_owned() } else { format!("@{file}") })?;
    Flow::from_json(&text).map_err(|error| At::in_json(error, file, &text))
}

fn check_handlers(file: &str, flow: &Flow, handlers: &[String]) -> Result<()> {
    if handlers.is_empty() {
        return Ok(());
    }
    let known: BTreeSet<&str> =
        handlers.iter().map(String::as_str).chain(super::worker::BUILT_IN.iter().copied()).collect();
    let text = words::text(&if file == "-" { String::new() } else { format!("@{file}") })?;
    flow.check_handlers(&|name| known.contains(name)).map_err(|error| At::in_json(error, file, &text))
}

/// A stored definition.
pub(crate) async fn stored(context: &Context, id: &str, version: Option<&str>) -> Result<Flow> {
    let flows = &context.stores()?.flows;
    let (found, name) = match version {
        Some(version) => (flows.get(id, version).await?, format!("{id}@{version}")),
        None => (flows.latest(id).await?, id.to_owned()),
    };
    Ok(found.ok_or_else(|| Error::not_found("flow", name))?)
}

/// A definition by file, or by id with or without version.
async fn named(context: &Context, name: &str) -> Result<Flow> {
    if name == "-" || std::path::Path::new(name).is_file() {
        return read(name);
    }
    match name.split_once('@') {
        Some((id, version)) => stored(context, id, Some(version)).await,
        None => stored(context, name, None).await,
    }
}

fn diff(context: &Context, old: &Flow, new: &Flow) -> Outcome {
    let mut changes = Vec::new();
    differences("", &old.to_value(), &new.to_value(), &mut changes);
    let mut told = String::new();
    for (path, old, new) in &changes {
        let shown =
            |value: &Option<Value>| value.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string);
        let _ = writeln!(told, "{path}: {} → {}", shown(old), shown(new)); // a string takes everything
    }
    let facts = changes.iter().map(|(path, old, new)| json!({"path": path, "old": old, "new": new}));
    let facts = json!({"changes": facts.collect::<Vec<_>>()});
    if context.output.format != Format::Table || !told.is_empty() {
        context.output.done(&told, facts)?;
    }
    Ok(ExitCode::from(u8::from(!changes.is_empty())))
}

/// Adds what differs below `path`, deepest first said.
fn differences(
    path: &str,
    old: &Value,
    new: &Value,
    changes: &mut Vec<(String, Option<Value>, Option<Value>)>,
) {
    let (Value::Object(old_map), Value::Object(new_map)) = (old, new) else {
        if old != new {
            changes.push((path.to_owned(), Some(old.clone()), Some(new.clone())));
        }
        return;
    };
    let keys: BTreeSet<&String> = old_map.keys().chain(new_map.keys()).collect();
    for key in keys {
        let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match (old_map.get(key), new_map.get(key)) {
            (Some(old), Some(new)) => differences(&below, old, new, changes),
            (old, new) => changes.push((below, old.cloned(), new.cloned())),
        }
    }
}
