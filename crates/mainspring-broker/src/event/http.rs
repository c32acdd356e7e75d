//! Events over HTTP: binary mode, with the attributes as `ce-…` headers and the data as the body, and structured mode.
//!
//! The content type of the default profile is that of structured mode too, so what tells the modes apart is the header
//! `ce-specversion`. In binary mode an extension is text, whatever it was before; `executionunits` is a number again.

use mainspring_core::{Error, Result};
use serde_json::{Map, Value};

use super::CloudEvent;

const PREFIX: &str = "ce-";

/// An event as the parts of an HTTP message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpEvent {
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl CloudEvent {
    /// The event in binary mode.
    pub fn to_http(&self) -> HttpEvent {
        let mut json = match self.to_json() {
            Value::Object(json) => json,
            _ => Map::new(),
        };
        let data = json.remove("data").unwrap_or_default();
        json.remove("datacontenttype");
        let mut headers = vec![("content-type".to_owned(), self.data_content_type().to_owned())];
        for (name, value) in json {
            let text = match value {
                Value::Null => continue,
                Value::String(text) => text,
                scalar => scalar.to_string(),
            };
            headers.push((format!("{PREFIX}{name}"), escape(&text)));
        }
        HttpEvent { headers, body: data.to_string().into_bytes() }
    }

    /// The event of an HTTP message in either mode. Names of headers are compared whatever their case.
    ///
    /// # Errors
    /// Invalid, naming the attribute and the rule.
    pub fn from_http<'h>(headers: impl IntoIterator<Item = (&'h str, &'h str)>, body: &[u8]) -> Result<Self> {
        let not_json = |error| Error::invalid("event.data", "the body is not JSON").with_source(error);
        let body: Value = serde_json::from_slice(body).map_err(not_json)?;
        let mut json = Map::new();
        for (name, value) in headers {
            let name = name.to_ascii_lowercase();
            let name = match name.strip_prefix(PREFIX) {
                Some(name) => name,
                None if name == "content-type" => "datacontenttype",
                None => continue,
            };
            json.insert(name.to_owned(), Value::String(unescape(value)?));
        }
        if !json.contains_key("specversion") {
            return Self::from_json(body);
        }
        if let Some(Value::String(units)) = json.get("executionunits") {
            let no_number = |error| Error::invalid("event.executionunits", "is no number").with_source(error);
            let units = serde_json::from_str(units).map_err(no_number)?;
            json.insert("executionunits".to_owned(), Value::Number(units));
        }
        json.insert("data".to_owned(), body);
        Self::from_json(Value::Object(json))
    }
}

/// As the HTTP binding says: spaces, quotes, percent signs and everything that is not printable ASCII.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' | b'"' | b'%' | 0..=0x1f | 0x7f.. => escaped.push_str(&format!("%{byte:02X}")),
            byte => escaped.push(char::from(byte)),
        }
    }
    escaped
}

fn unescape(text: &str) -> Result<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let pair = (byte == b'%').then(|| [rest.next(), rest.next()]);
        bytes.push(match pair {
            None => byte,
            Some([Some(high), Some(low)]) => match (digit(high), digit(low)) {
                (Some(high), Some(low)) => high << 4 | low,
                _ => return Err(Error::invalid("event", "a header has a percent sign that escapes nothing")),
            },
            Some(_) => return Err(Error::invalid("event", "a header ends in the middle of an escape")),
        });
    }
    String::from_utf8(bytes)
        .map_err(|error| Error::invalid("event", "a header is not UTF-8").with_source(error))
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
