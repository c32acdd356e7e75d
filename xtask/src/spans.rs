//! `cargo xtask spans`: the table of spans for people. `cargo xtask tidy` asks here whether the code and that table agree with the
//! catalogue: every span and every attribute that is traced is listed, and what is listed is traced.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    io,
    path::{Path, PathBuf},
};

use mainspring_core::span::ALL;

use crate::{Outcome, catalogue};

const TABLE: &str = "docs/operations/spans.md";
const CATALOGUE: &str = "crates/mainspring-core/src/span.rs";
/// The calls of the machine memory share a macro of their own, with these attributes.
const MEMORY: (&str, &str, [&str; 2]) =
    ("PostgresMachineMemory.v1.", "span!(self, ", ["otel.status_code", "otel.status_description"]);

/// A span as the code has it.
#[derive(Debug, PartialEq)]
struct Traced {
    name: String,
    level: &'static str,
    attributes: BTreeSet<String>,
}

pub fn run() -> Outcome {
    catalogue::write(TABLE, &table())
}

/// What is wrong, for `tidy`.
pub fn problems(root: &Path, files: &[PathBuf]) -> io::Result<Vec<String>> {
    let (mut found, mut seen) = (Vec::new(), BTreeMap::new());
    let sources = catalogue::sources(root, files)?;
    for (name, text) in sources.iter().filter(|(name, _)| !name.contains("mainspring-testing")) {
        for span in traced(text) {
            let Some(listed) = ALL.iter().find(|listed| listed.name == span.name) else {
                found.push(format!("{name}: no span of the catalogue is called {}", span.name));
                continue;
            };
            if listed.level != span.level {
                found.push(format!("{name}: {} is of level {} in the catalogue", span.name, listed.level));
            }
            let attributes: &mut BTreeSet<String> = seen.entry(listed.name).or_default();
            attributes.extend(span.attributes);
        }
    }
    for listed in ALL {
        let Some(attributes) = seen.get(listed.name) else {
            found.push(format!("{CATALOGUE}: {} is traced nowhere", listed.name));
            continue;
        };
        let wanted: BTreeSet<String> = listed.attributes.iter().map(|name| (*name).to_owned()).collect();
        for attribute in attributes.symmetric_difference(&wanted) {
            found.push(format!("{CATALOGUE}: {attribute} of {} is on one side only", listed.name));
        }
    }
    found.extend(catalogue::stale(root, TABLE, &table(), "spans"));
    Ok(found)
}

/// The spans of a source, its tests left out.
fn traced(text: &str) -> Vec<Traced> {
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    let mut spans = Vec::new();
    for level in ["error", "warn", "info", "debug", "trace"] {
        for (at, found) in code.match_indices(&format!("{level}_span!(")) {
            let parts = arguments(&code[at + found.len()..]);
            let mut parts = parts.iter().map(String::as_str).filter(|part| !part.starts_with("parent:"));
            // A name that is put together is that of a macro around it.
            let Some(name) = parts.next().and_then(literal) else { continue };
            spans.push(Traced { name, level, attributes: parts.filter_map(attribute).collect() });
        }
    }
    let (prefix, call, shared) = MEMORY;
    for (at, found) in code.match_indices(call) {
        let parts = arguments(&code[at + found.len()..]);
        let mut parts = parts.iter().map(String::as_str);
        let Some(name) = parts.next().and_then(literal) else { continue };
        let attributes = parts.filter_map(attribute).chain(shared.map(str::to_owned)).collect();
        spans.push(Traced { name: format!("{prefix}{name}"), level: "info", attributes });
    }
    spans
}

/// What stands between the commas until the bracket is closed.
fn arguments(text: &str) -> Vec<String> {
    let (mut parts, mut part, mut depth, mut quoted) = (Vec::new(), String::new(), 0_usize, false);
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            '(' | '[' | '{' if !quoted => depth += 1,
            ')' | ']' | '}' if !quoted && depth == 0 => break,
            ')' | ']' | '}' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                parts.push(std::mem::take(&mut part).trim().to_owned());
                continue;
            }
            _ => {}
        }
        part.push(c);
    }
    parts.push(part.trim().to_owned());
    parts.retain(|part| !part.is_empty());
    parts
}

fn literal(part: &str) -> Option<String> {
    Some(part.strip_prefix('"')?.strip_suffix('"')?.to_owned())
}

/// The name of an attribute: what stands before `=`, or the variable alone.
fn attribute(part: &str) -> Option<String> {
    let name = part.split('=').next().unwrap_or_default().trim().trim_start_matches(['%', '?']);
    (!name.starts_with('$')).then(|| name.replace("r#", ""))
}

fn table() -> String {
    let mut text = String::from(
        "# Spans\n\nWritten by `cargo xtask spans` from the catalogue `mainspring::span`; `cargo xtask tidy` keeps it true. They are traced \
         through the\nfacade [`tracing`](https://docs.rs/tracing): whoever sets a subscriber gets them, and `mainspring::telemetry` (feature \
         `otel`) exports them\nover OTLP. Attributes are names, ids and numbers, never a payload, an error's text or a secret.\n\n\
         | span | level | kind | when | within | attributes |\n|---|---|---|---|---|---|\n",
    );
    for span in ALL {
        let attributes: Vec<String> = span.attributes.iter().map(|name| format!("`{name}`")).collect();
        let (kind, attributes) = (span.kind.as_str(), attributes.join(", "));
        let row = format!(
            "| `{}` | {} | {kind} | {} | {} | {attributes} |",
            span.name, span.level, span.when, span.parent
        );
        let _ = writeln!(text, "{row}"); // a string takes everything
    }
    text + REST
}

const REST: &str = "
## How spans hang together

`traceparent`, `tracestate` and `links` are no attributes of what is exported: they become the parent and the links of a span.

- Whatever is written while a span is open carries its [W3C context](https://www.w3.org/TR/trace-context/): messages in their headers
  `traceparent` and `tracestate`, events in their metadata, a new execution in its metadata, a call of a world in the headers of its
  request, an event of the broker in its attributes. What has a context of its own keeps it; one that is none is ignored, and no error.
- The first try of a message is a child of the span that pushed it. A later try is that, too, and linked to the try before, which leaves
  its span in the header `mainspring-tried`; a try whose worker died leaves nothing, and its span is lost with it.
- A batch of messages is handled in a trace of its own, linked to those of all its messages.
- A timer wakes an execution in the trace it was created in, however long it slept. What comes from outside (a token, a signal) wakes it
  in the trace of who sent it, and the drive is linked to the other one.
- Without an exporter a context is passed through as it came, from a message to whatever its handler writes.

With the exporter, `mainspring.push` and `mainspring.deliver` also have `messaging.system`, `messaging.operation.type` and
`messaging.operation.name`, and their `queue`, `message` and `messages` are called `messaging.destination.name`, `messaging.message.id` and
`messaging.batch.message_count`, as OpenTelemetry has them.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_traced_is_read_from_the_code() {
        let text = "//! info_span!(\"doc\")\nfn a() { info_span!(parent: None, \"x.y\", queue, %id, a.r#type = f(1, \"b, )\"), last = Empty,) }\n\
             fn m() { span!(self, \"read\", subject = s(a, b)); tracing::debug_span!(concat!(\"a\", $call), $($fields)*) }\n\
             #[cfg(test)] mod tests { info_span!(\"test\") }";
        let span = |name: &str, level, attributes: &[&str]| Traced {
            name: name.to_owned(),
            level,
            attributes: attributes.iter().map(|name| (*name).to_owned()).collect(),
        };
        let expected = [
            span("x.y", "info", &["queue", "id", "a.type", "last"]),
            span(
                "PostgresMachineMemory.v1.read",
                "info",
                &["subject", "otel.status_code", "otel.status_description"],
            ),
        ];
        assert_eq!(traced(text), expected);
    }
}
