//! Structured mode: all attributes in one flat JSON object, the names in order, so that an event that is read and written again
//! is the same text.

use mainspring_core::{Error, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::{Attributes, CloudEvent, PROFILE};

impl CloudEvent {
    /// The event as one JSON object.
    pub fn to_json(&self) -> Value {
        let event = &*self.0;
        let mut json: Map<String, Value> =
            event.extensions.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let mut put = |name: &str, text: &str| json.insert(name.to_owned(), Value::String(text.to_owned()));
        put("id", &event.id);
        put("source", &event.source);
        put("specversion", "1.0");
        put("type", &event.event_type);
        put("subject", &event.subject);
        put("time", &event.time);
        put("datacontenttype", &event.data_content_type);
        for (name, text) in event.optional() {
            if let Some(text) = text {
                put(name, text);
            }
        }
        if let Some(units) = &event.execution_units {
            json.insert("executionunits".to_owned(), Value::Number(units.clone()));
        }
        json.insert("data".to_owned(), Value::Object(event.data.clone()));
        Value::Object(json)
    }

    /// The event of a JSON object. What this library does not know is an extension; an attribute it knows that is null is not
    /// there.
    ///
    /// # Errors
    /// Invalid, naming the attribute and the rule.
    pub fn from_json(json: Value) -> Result<Self> {
        let Value::Object(mut json) = json else {
            return Err(Error::invalid("event", "is no JSON object"));
        };
        let version = text(&mut json, "specversion")?;
        if version.as_deref() != Some("1.0") {
            return Err(Error::invalid("event.specversion", "is not `1.0`"));
        }
        let data = match json.remove("data") {
            Some(Value::Object(data)) => data,
            None => Map::new(),
            Some(_) => return Err(Error::invalid("event.data", "is no JSON object")),
        };
        let execution_units = match json.remove("executionunits") {
            None | Some(Value::Null) => None,
            Some(Value::Number(units)) => Some(units),
            Some(_) => return Err(Error::invalid("event.executionunits", "is no number")),
        };
        let attributes = Attributes {
            id: required(&mut json, "id")?,
            source: required(&mut json, "source")?,
            event_type: required(&mut json, "type")?,
            subject: required(&mut json, "subject")?,
            time: required(&mut json, "time")?,
            data_content_type: text(&mut json, "datacontenttype")?.unwrap_or_else(|| PROFILE.to_owned()),
            data_schema: text(&mut json, "dataschema")?,
            data,
            to: text(&mut json, "to")?,
            access_control: text(&mut json, "accesscontrol")?,
            redirect_to: text(&mut json, "redirectto")?,
            execution_units,
            parent_id: text(&mut json, "parentid")?,
            domain: text(&mut json, "domain")?,
            trace_parent: text(&mut json, "traceparent")?,
            trace_state: text(&mut json, "tracestate")?,
            extensions: json.into_iter().collect(),
        };
        attributes.checked()
    }
}

impl Attributes {
    /// The attributes that are text and may be missing.
    pub(super) fn optional(&self) -> [(&'static str, Option<&str>); 8] {
        [
            ("dataschema", self.data_schema.as_deref()),
            ("to", self.to.as_deref()),
            ("accesscontrol", self.access_control.as_deref()),
            ("redirectto", self.redirect_to.as_deref()),
            ("parentid", self.parent_id.as_deref()),
            ("domain", self.domain.as_deref()),
            ("traceparent", self.trace_parent.as_deref()),
            ("tracestate", self.trace_state.as_deref()),
        ]
    }
}

fn text(json: &mut Map<String, Value>, name: &str) -> Result<Option<String>> {
    match json.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Error::invalid(&format!("event.{name}"), "is no text")),
    }
}

fn required(json: &mut Map<String, Value>, name: &str) -> Result<String> {
    text(json, name)?.ok_or_else(|| Error::invalid(&format!("event.{name}"), "is missing"))
}

impl Serialize for CloudEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for CloudEvent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_json(Value::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}
