//! Types of the driver in public signatures; part of `cargo xtask tidy`.
//!
//! A type of tokio-postgres or deadpool in our API makes their next major version one of ours. It may stand there only where
//! something of the caller's comes in, or where the item is hidden and so nobody's.

/// Types of tokio-postgres and deadpool, by the names `mainspring-pg` hands them on under.
const DRIVER: &[&str] = &[
    "Row",
    "ToSql",
    "FromSql",
    "Pool",
    "PoolError",
    "Client",
    "Transaction",
    "Object",
    "SimpleQueryMessage",
];

/// Where one stands in public all the same: the caller's own pool, or another thing of the same name.
const CALLERS: &[(&str, &str)] = &[
    ("crates/mainspring/src/lib.rs", "pub use mainspring_pg::"),
    ("crates/mainspring/src/stores.rs", "pub fn create_pg_stores("),
    ("crates/mainspring-core/src/span.rs", "Client,"), // a kind of span
];

/// Public items of a source file that name a type of the driver. `lib` is the text of the crate's `lib.rs`.
pub(crate) fn problems(name: &str, text: &str, lib: &str) -> Vec<String> {
    let hidden = hidden(lib);
    let lines: Vec<&str> = text.lines().take_while(|line| *line != "mod tests {").collect();
    let mut found = Vec::new();
    let mut inside = ""; // the type, trait or enum whose block this is
    for (index, line) in lines.iter().enumerate() {
        let item = line.trim_start();
        if !line.starts_with([' ', '}', '/', '#']) {
            inside = line;
        }
        let open = inside.starts_with("pub trait ") || inside.starts_with("pub enum ");
        let public =
            item.starts_with("pub ") || line.starts_with("impl") || (open && !item.starts_with("//"));
        let of_hidden = hidden.iter().any(|name| says(item, name) || says(inside, name));
        if !public
            || of_hidden
            || CALLERS.iter().any(|(file, begin)| name == *file && item.starts_with(begin))
        {
            continue;
        }
        let signature = signature(&lines[index..]);
        for word in DRIVER.iter().filter(|word| says(&signature, word)) {
            found.push(format!("{name}:{}: `{word}` of the driver is in the public API", index + 1));
        }
    }
    found
}

/// From the beginning of an item to its body or its end.
fn signature(lines: &[&str]) -> String {
    let mut all = String::new();
    for line in lines {
        let item = line.trim();
        all += item;
        let whole = !all.contains("fn ") && !all.contains("impl") && item.ends_with(',');
        if whole || item.ends_with(['{', ';', '}']) {
            break;
        }
    }
    // What a struct holds without `pub` is its own business.
    if all.starts_with("pub struct ") && !all.contains("(pub ") { String::new() } else { all }
}

/// The names that `lib.rs` exports under `#[doc(hidden)]`.
fn hidden(lib: &str) -> Vec<&str> {
    let exports = lib.split("#[doc(hidden)]\npub use ").skip(1).filter_map(|rest| rest.split(';').next());
    let names =
        exports.flat_map(|export| export.rsplit("::").next().unwrap_or_default().split([',', '{', '}']));
    names.map(str::trim).filter(|name| !name.is_empty()).collect()
}

/// Whether `word` stands there as a whole word.
fn says(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|part| part == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, lib: &str) -> usize {
        problems("crates/mainspring-jobs/src/a.rs", text, lib).len()
    }

    #[test]
    fn a_type_of_the_driver_in_public_is_found() {
        assert_eq!(found("pub fn read(\n    name: &str,\n    rows: &[Row],\n) -> u8 {\n", ""), 1);
        assert_eq!(found("impl From<Pool> for Stores {\n", ""), 1);
        assert_eq!(found("pub trait Reads {\n    fn read(&self, row: &Row);\n}\n", ""), 1);
        assert_eq!(found("pub enum End {\n    Rows(Vec<Row>),\n}\n", ""), 1);
        assert_eq!(found("pub struct Reader {\n    pub pool: Pool,\n}\n", ""), 1);
        assert_eq!(found("pub struct Reader(pub Pool);\n", ""), 1);
    }

    #[test]
    fn what_is_private_or_hidden_is_nobodys() {
        assert_eq!(found("fn read(rows: &[Row]) {\n    let pool: Pool;\n}\n", ""), 0);
        assert_eq!(found("pub struct Reader(Pool);\npub(crate) fn read(rows: &[Row]) {\n", ""), 0);
        assert_eq!(found("pub fn rows() -> RowCount {\n    let row: Row = 1;\n}\n", ""), 0);
        let lib = "#[doc(hidden)]\npub use write::{Written, decode};\n";
        let text =
            "pub fn decode(rows: &[Row]) {\n}\nimpl Written {\n    pub fn read(rows: &[Row]) {\n    }\n}\n";
        assert_eq!((found(text, lib), found(text, "")), (0, 2));
    }
}
