//! Selectors: what of the context a step gets as its input.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::{Map, Value, json};

use super::{code, path};
use crate::{Error, Failure, Result, limits};

/// What of the context a step gets as its input.
///
/// | JSON | input |
/// |---|---|
/// | `{"type": "key", "key": "total"}` | the value under one key |
/// | `{"type": "keys", "keys": ["a", "b"]}` | an object with these keys; missing ones are left out |
/// | `{"type": "path", "path": "order.total"}` | what stands at the end of a path |
/// | `{"type": "template", "template": {"to": "${user.mail}"}}` | the template with every `${path}` filled in |
/// | `{"type": "full"}` | the whole context |
/// | `{"type": "static", "value": 42}` | this value |
///
/// The short forms without a type are read too: `{"key": "total"}`, `{"path": "order.total"}`, `{"full": true}`,
/// `{"static": 42}`. What is not there is `null`.
///
/// In a template, a string that is nothing but `${path}` becomes the value itself, of whatever type. Elsewhere in a string
/// the value becomes text: nothing when it is missing, JSON when it is an object or an array.
#[derive(Debug, Clone, PartialEq)]
pub enum Selector {
    /// The value under one key.
    Key(String),
    /// An object with these keys.
    Keys(Vec<String>),
    /// What stands at the end of a dotted path.
    Path(String),
    /// JSON with every `${path}` filled in.
    Template(Value),
    /// The whole context.
    Full,
    /// This value.
    Static(Value),
}

impl Selector {
    /// Reads either JSON form.
    ///
    /// # Errors
    /// Invalid, naming the field `input`.
    pub fn from_json(json: Value) -> Result<Self> {
        read(json).map_err(|problem| Error::invalid("input", problem))
    }

    /// The JSON form with a type.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Key(key) => json!({"type": "key", "key": key}),
            Self::Keys(keys) => json!({"type": "keys", "keys": keys}),
            Self::Path(path) => json!({"type": "path", "path": path}),
            Self::Template(template) => json!({"type": "template", "template": template}),
            Self::Full => json!({"type": "full"}),
            Self::Static(value) => json!({"type": "static", "value": value}),
        }
    }

    /// The input it makes of a context.
    ///
    /// # Errors
    /// `INPUT_ERROR`, when a template makes more than a context may hold.
    pub fn resolve(&self, context: &Map<String, Value>) -> Result<Value, Failure> {
        Ok(match self {
            Self::Key(key) => context.get(key).cloned().unwrap_or_default(),
            Self::Keys(keys) => Value::Object(
                keys.iter()
                    .filter_map(|key| context.get_key_value(key))
                    .map(|(k, v)| (k.clone(), v.clone()))
                    .collect(),
            ),
            Self::Path(path) => path::lookup_in(context, path).cloned().unwrap_or_default(),
            Self::Template(template) => {
                let mut filling = Filling { context, room: limits::MAX_CONTEXT };
                filling.value(template).ok_or_else(|| {
                    Failure::new(
                        code::INPUT_ERROR,
                        format!("the template makes more than {} bytes of input", limits::MAX_CONTEXT),
                    )
                })?
            }
            Self::Full => Value::Object(context.clone()),
            Self::Static(value) => value.clone(),
        })
    }

    /// Checks everything a caller could have put in; `field` is where the selector stands.
    ///
    /// # Errors
    /// Invalid, naming the field and the limit.
    pub fn check(&self, field: &str) -> Result<()> {
        match self {
            Self::Key(key) => limits::check_id(&format!("{field}.key"), key),
            Self::Keys(keys) if keys.len() > limits::MAX_KEYS => {
                let problem = format!("{} keys, at most {} are allowed", keys.len(), limits::MAX_KEYS);
                Err(Error::invalid(&format!("{field}.keys"), problem))
            }
            Self::Keys(keys) => {
                keys.iter().try_for_each(|key| limits::check_id(&format!("{field}.keys"), key))
            }
            Self::Path(path) => path::check(&format!("{field}.path"), path),
            Self::Template(template) => limits::check_json(&format!("{field}.template"), template),
            Self::Full => Ok(()),
            Self::Static(value) => limits::check_json(&format!("{field}.value"), value),
        }
    }
}

impl From<Selector> for Value {
    fn from(selector: Selector) -> Self {
        selector.to_json()
    }
}

impl Serialize for Selector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(Value::deserialize(deserializer)?)
            .map_err(|problem| D::Error::custom(format_args!("input: {problem}")))
    }
}

const KINDS: &str = "`key`, `keys`, `path`, `template`, `full` or `static`";

fn read(json: Value) -> Result<Selector, String> {
    let Value::Object(mut fields) = json else { return Err(format!("is not an object with {KINDS}")) };
    let selector = match fields.remove("type") {
        None => short(&mut fields)?,
        Some(Value::String(kind)) => {
            let field = match kind.as_str() {
                "static" => "value",
                "full" => return finish(Selector::Full, &fields),
                other => other,
            };
            match fields.remove(field) {
                Some(value) => of(&kind, value)?,
                None if KINDS.contains(&format!("`{kind}`")) => return Err(format!("`{field}` is missing")),
                None => return Err(format!("type `{kind}` is not {KINDS}")),
            }
        }
        Some(_) => return Err(format!("type is not {KINDS}")),
    };
    finish(selector, &fields)
}

fn short(fields: &mut Map<String, Value>) -> Result<Selector, String> {
    for (field, kind) in [
        ("key", "key"),
        ("keys", "keys"),
        ("path", "path"),
        ("template", "template"),
        ("full", "full"),
        ("static", "static"),
        ("value", "static"),
    ] {
        if let Some(value) = fields.remove(field) {
            return of(kind, value);
        }
    }
    Err(format!("has none of {KINDS}"))
}

fn of(kind: &str, value: Value) -> Result<Selector, String> {
    match (kind, value) {
        ("key", Value::String(key)) => Ok(Selector::Key(key)),
        ("path", Value::String(path)) => Ok(Selector::Path(path)),
        ("keys", keys) => serde_json::from_value(keys)
            .map(Selector::Keys)
            .map_err(|_| "`keys` is not an array of strings".to_owned()),
        ("template", template) => Ok(Selector::Template(template)),
        ("full", Value::Bool(true)) => Ok(Selector::Full),
        ("full", _) => Err("`full` can only be true".to_owned()),
        ("static", value) => Ok(Selector::Static(value)),
        ("key" | "path", _) => Err(format!("`{kind}` is not a string")),
        _ => Err(format!("type `{kind}` is not {KINDS}")),
    }
}

fn finish(selector: Selector, rest: &Map<String, Value>) -> Result<Selector, String> {
    match rest.keys().next() {
        None => Ok(selector),
        Some(extra) => Err(format!("unknown field `{extra}`")),
    }
}

/// A template being filled in. A template may name one large value many times, so what it makes is bounded on the way.
struct Filling<'a> {
    context: &'a Map<String, Value>,
    room: usize,
}

impl Filling<'_> {
    /// `None` when there is no room left.
    fn value(&mut self, template: &Value) -> Option<Value> {
        match template {
            Value::String(text) => self.text(text),
            Value::Array(items) => {
                items.iter().map(|item| self.value(item)).collect::<Option<_>>().map(Value::Array)
            }
            Value::Object(map) => map
                .iter()
                .map(|(k, v)| Some((k.clone(), self.value(v)?)))
                .collect::<Option<_>>()
                .map(Value::Object),
            scalar => Some(scalar.clone()),
        }
    }

    fn text(&mut self, text: &str) -> Option<Value> {
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, path, after)) = next_place(rest) {
            let value = path::lookup_in(self.context, path);
            if before.is_empty() && after.is_empty() && filled.is_empty() && rest.len() == text.len() {
                self.take(value.map_or(4, limits::json_size))?;
                return Some(value.cloned().unwrap_or_default());
            }
            filled.push_str(before);
            match value {
                None => {}
                Some(Value::String(text)) => {
                    self.take(text.len())?;
                    filled.push_str(text);
                }
                Some(value) => {
                    self.take(limits::json_size(value))?;
                    filled.push_str(&value.to_string());
                }
            }
            rest = after;
        }
        filled.push_str(rest);
        Some(Value::String(filled))
    }

    fn take(&mut self, bytes: usize) -> Option<()> {
        self.room = self.room.checked_sub(bytes)?;
        Some(())
    }
}

/// The text before the first `${path}`, the path, and the text after it.
fn next_place(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    loop {
        let start = from + text[from..].find("${")?;
        let inner = start + 2;
        let end = inner + text[inner..].find('}')?;
        if end > inner {
            return Some((&text[..start], text[inner..end].trim(), &text[end + 1..]));
        }
        from = inner; // `${}` is just text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(selector: Value, context: Value) -> Value {
        let selector = Selector::from_json(selector).unwrap();
        assert_eq!(Selector::from_json(selector.to_json()).unwrap(), selector);
        selector.resolve(context.as_object().unwrap()).unwrap()
    }

    fn table(cases: &[(Value, Value)], context: &Value) {
        for (selector, expected) in cases {
            assert_eq!(resolve(selector.clone(), context.clone()), *expected, "{selector}");
        }
    }

    #[test]
    fn keys_and_paths_pick() {
        // scenarios F22, F23, F24
        let cases = [
            (json!({"type": "key", "key": "name"}), json!("Ada")),
            (json!({"key": "missing"}), json!(null)),
            (json!({"type": "keys", "keys": ["name", "missing"]}), json!({"name": "Ada"})),
            (json!({"keys": ["missing"]}), json!({})),
            (json!({"keys": []}), json!({})),
            (json!({"type": "path", "path": "name"}), json!("Ada")),
            (json!({"path": "user.roles.0"}), json!("admin")),
            (json!({"path": "user.address.city"}), json!(null)),
            (json!({"path": "none.name"}), json!(null)),
        ];
        table(&cases, &json!({"name": "Ada", "user": {"roles": ["admin"]}, "none": null}));
    }

    #[test]
    fn templates_are_filled_in() {
        // scenario F25
        let cases = [
            (json!("Hello ${name} from ${user.city}!"), json!("Hello Ada from Rome!")),
            (json!("${count}"), json!(42)),
            (json!("${ count }"), json!(42)),
            (json!("${user}"), json!({"city": "Rome"})),
            (json!("${count}${count}"), json!("4242")),
            (json!("${missing}${count}"), json!("42")),
            (
                json!({"greeting": "Hi ${name}", "details": {"count": "${count}"}}),
                json!({"greeting": "Hi Ada", "details": {"count": 42}}),
            ),
            (json!(["${count}", "literal"]), json!([42, "literal"])),
            (json!("age ${age}"), json!("age ")),
            (json!("${age}"), json!(null)),
            (json!("user: ${user}, none: ${none}"), json!("user: {\"city\":\"Rome\"}, none: null")),
            (json!("${} ${ ${name"), json!("${} ${ ${name")),
            (json!("é${name}é"), json!("éAdaé")),
            (json!(123), json!(123)),
            (json!(null), json!(null)),
        ]
        .map(|(template, expected)| (json!({"type": "template", "template": template}), expected));
        table(&cases, &json!({"name": "Ada", "count": 42, "user": {"city": "Rome"}, "none": null}));
    }

    #[test]
    fn full_and_static() {
        // scenario F26
        let context = json!({"a": 1});
        let cases = [
            (json!({"type": "full"}), context.clone()),
            (json!({"full": true}), context.clone()),
            (json!({"type": "static", "value": {"x": 1}}), json!({"x": 1})),
            (json!({"type": "static", "value": null}), json!(null)),
            (json!({"static": 42}), json!(42)),
            (json!({"value": "v"}), json!("v")),
        ];
        table(&cases, &context);
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for (json, problem) in [
            (json!("full"), "is not an object with"),
            (json!({}), "has none of"),
            (json!({"type": "ful"}), "type `ful` is not"),
            (json!({"type": 1}), "type is not"),
            (json!({"type": "key"}), "`key` is missing"),
            (json!({"type": "static"}), "`value` is missing"),
            (json!({"type": "key", "key": 1}), "`key` is not a string"),
            (json!({"keys": ["a", 1]}), "`keys` is not an array"),
            (json!({"full": false}), "`full` can only be true"),
            (json!({"path": "a", "default": 1}), "unknown field `default`"),
            (json!({"type": "full", "full": true, "x": 1}), "unknown field"),
        ] {
            let error = Selector::from_json(json.clone()).unwrap_err().to_string();
            assert!(error.starts_with("input: ") && error.contains(problem), "{json}: {error}");
        }
        for (selector, field) in [
            (Selector::Key(String::new()), "i.key: must not be empty"),
            (Selector::Keys(vec!["a\0".to_owned()]), "i.keys"),
            (Selector::Path("a..b".to_owned()), "i.path: `a..b` has an empty part"),
            (Selector::Template(json!("a\0")), "i.template: has a NUL"),
            (Selector::Static(json!("x".repeat(limits::MAX_PAYLOAD))), "i.value: "),
        ] {
            assert!(selector.check("i").unwrap_err().to_string().starts_with(field));
        }
    }

    #[test]
    fn a_template_cannot_blow_up() {
        let context = json!({"big": "x".repeat(1_000_000)});
        let many = json!({"type": "template", "template": vec!["${big}"; 1_000]});
        let failure = Selector::from_json(many).unwrap().resolve(context.as_object().unwrap()).unwrap_err();
        assert_eq!(failure.code, "INPUT_ERROR");
    }
}
