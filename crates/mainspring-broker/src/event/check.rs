//! The rules of the attributes, each with its name in the error.

use mainspring_core::{Error, Result, Timestamp, limits};
use serde_json::Value;

use super::Attributes;

/// Most bytes of a subject: a process that has many ancestors carries what they said.
const MAX_SUBJECT: usize = 4 * 1024;
/// Most bytes of an attribute whose text is anybody's.
const MAX_TEXT: usize = 2 * 1024;

pub(super) fn check(event: &Attributes) -> Result<()> {
    limits::check_id("event.id", &event.id)?;
    limits::check_id("event.source", &event.source)?;
    check_uri_reference("event.source", &event.source)?;
    check_type(&event.event_type)?;
    check_text("event.subject", &event.subject, MAX_SUBJECT)?;
    check_time(&event.time)?;
    check_content_type(event)?;
    if let Some(schema) = &event.data_schema {
        check_text("event.dataschema", schema, MAX_TEXT)?;
        check_uri_reference("event.dataschema", schema)?;
    }
    limits::check_map("event.data", &event.data, limits::MAX_PAYLOAD)?;
    if let Some(to) = &event.to {
        limits::check_name("event.to", to)?;
    }
    if let Some(to) = &event.redirect_to {
        limits::check_name("event.redirectto", to)?;
    }
    for (field, text) in [
        ("event.accesscontrol", &event.access_control),
        ("event.parentid", &event.parent_id),
        ("event.traceparent", &event.trace_parent),
    ] {
        if let Some(text) = text {
            check_text(field, text, MAX_TEXT)?;
        }
    }
    if let Some(state) = event.trace_state.as_deref().filter(|state| !state.is_empty()) {
        check_text("event.tracestate", state, MAX_TEXT)?;
    }
    if let Some(domain) = &event.domain {
        check_domain(domain)?;
    }
    event.extensions.iter().try_for_each(|(name, value)| check_extension(name, value))
}

fn check_text(field: &str, text: &str, most: usize) -> Result<()> {
    if text.is_empty() || text.len() > most || text.chars().any(char::is_control) {
        return Err(Error::invalid(
            field,
            format!("is not 1 to {most} bytes of text without control characters"),
        ));
    }
    Ok(())
}

/// `^[a-z0-9]+(\.[a-z0-9]+)+\.[a-z0-9]+$`, and no longer than a name.
fn check_type(text: &str) -> Result<()> {
    limits::check_name("event.type", text)?;
    let segments = || text.split('.');
    let plain = |segment: &str| {
        !segment.is_empty() && segment.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    if segments().count() < 3 || !segments().all(plain) {
        let problem = format!("`{text}` is not three or more segments of a-z and 0-9 with dots between");
        return Err(Error::invalid("event.type", problem));
    }
    Ok(())
}

/// `^[a-z0-9.]+$`
pub(crate) fn check_domain(text: &str) -> Result<()> {
    limits::check_name("event.domain", text)?;
    if !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.') {
        return Err(Error::invalid("event.domain", format!("`{text}` is not a-z, 0-9 and dots")));
    }
    Ok(())
}

/// The characters of RFC 3986, and percent signs only in front of two hexadecimal digits.
fn check_uri_reference(field: &str, text: &str) -> Result<()> {
    let bytes = text.as_bytes();
    let fits = bytes.iter().enumerate().all(|(n, byte)| match byte {
        b'%' => bytes.get(n + 1..n + 3).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit)),
        byte => byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=".contains(byte),
    });
    match fits {
        true => Ok(()),
        false => Err(Error::invalid(field, format!("`{}` is no URI reference", text.escape_debug()))),
    }
}

fn check_time(text: &str) -> Result<()> {
    let offset = text.ends_with(['Z', 'z'])
        || text.len().checked_sub(6).and_then(|at| text.get(at..)).is_some_and(|end| {
            let end = end.as_bytes();
            matches!(end.first(), Some(b'+' | b'-')) && end.get(3) == Some(&b':')
        });
    if !offset {
        return Err(Error::invalid("event.time", format!("`{}` has no offset", text.escape_debug())));
    }
    let bad = |error: Error| Error::invalid("event.time", "is not RFC 3339").with_source(error);
    text.parse::<Timestamp>().map(drop).map_err(bad)
}

fn check_content_type(event: &Attributes) -> Result<()> {
    let (field, text) = ("event.datacontenttype", &event.data_content_type);
    check_text(field, text, MAX_TEXT)?;
    if !text.contains("application/cloudevents+json") && !text.contains("application/json") {
        let problem = format!("`{text}` is neither application/cloudevents+json nor application/json");
        return Err(Error::invalid(field, problem));
    }
    if text == super::PROFILE && event.to.is_none() {
        return Err(Error::invalid("event.to", "the profile of its data needs one"));
    }
    Ok(())
}

fn check_extension(name: &str, value: &Value) -> Result<()> {
    let field = "event.extension";
    limits::check_name(field, name)?;
    if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
        return Err(Error::invalid(field, format!("`{}` is not a-z and 0-9", name.escape_debug())));
    }
    match value {
        Value::Array(_) | Value::Object(_) => {
            Err(Error::invalid(field, format!("`{name}` is neither text, number, true, false nor null")))
        }
        Value::String(text) => limits::check_message(field, text),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}
