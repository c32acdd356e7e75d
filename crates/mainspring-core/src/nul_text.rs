//! NUL in JSON, which Postgres cannot store: escaped at the doors that promise to keep it, and refused below.
//!
//! `U+0000` becomes `\u{2400}0`, and the sign `\u{2400}` itself is doubled, so every value has exactly one stored form.

use serde_json::Value;

const SIGN: char = '\u{2400}';

/// The form that can be stored.
pub fn escape(value: Value) -> Value {
    map(value, &|text| match text.contains(['\0', SIGN]) {
        true => text.replace(SIGN, "\u{2400}\u{2400}").replace('\0', "\u{2400}0"),
        false => text,
    })
}

/// The value whose stored form this is.
pub fn unescape(value: Value) -> Value {
    map(value, &|text| if text.contains(SIGN) { unescape_text(&text) } else { text })
}

fn unescape_text(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut signs = text.chars();
    while let Some(sign) = signs.next() {
        match sign {
            SIGN => plain.push(if signs.next() == Some('0') { '\0' } else { SIGN }),
            sign => plain.push(sign),
        }
    }
    plain
}

fn map(value: Value, text: &impl Fn(String) -> String) -> Value {
    match value {
        Value::String(string) => Value::String(text(string)),
        Value::Array(items) => items.into_iter().map(|item| map(item, text)).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(key, value)| (text(key), map(value, text))).collect()
        }
        scalar => scalar,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_escaped_can_be_stored_and_comes_back() {
        for value in [
            json!("a\0b"),
            json!("\u{2400}"),
            json!("\u{2400}0"),
            json!("\u{2400}\0\0\u{2400}\u{2400}0"),
            json!({"k\0": ["\0", 0, null, {"deep": "\u{2400}"}], "plain": "text"}),
        ] {
            let stored = escape(value.clone());
            assert!(!stored.to_string().contains("\\u0000"), "{stored}");
            assert_eq!(unescape(stored), value);
        }
        assert_eq!(escape(json!("plain")), json!("plain"));
    }
}
