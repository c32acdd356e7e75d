//! Connection strings: `postgres://…` and libpq's `key=value` form, into pairs of libpq's keys and values.
//!
//! A string that cannot be read is never repeated in the error: it may hold a password in an unexpected place (T17).

use mainspring_core::{Error, Result};

pub(crate) type Pairs = Vec<(String, String)>;

fn refused(problem: impl std::fmt::Display) -> Error {
    Error::invalid("database url", problem)
}

/// Reads either form.
pub(crate) fn parse(text: &str) -> Result<Pairs> {
    let text = text.trim();
    match text.split_once("://") {
        Some(("postgres" | "postgresql", rest)) => url(rest),
        Some(_) => Err(refused("it does not begin with postgres:// or postgresql://")),
        None if text.is_empty() => Err(refused("it is empty")),
        None => keywords(text),
    }
}

fn url(rest: &str) -> Result<Pairs> {
    let mut pairs = Pairs::new();
    let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
    let (authority, dbname) =
        rest.split_once('/').map_or((rest, ""), |(authority, dbname)| (authority, dbname));
    if [authority, dbname].iter().any(|part| part.contains('#')) {
        return Err(refused("write `#` in a user name or password as %23"));
    }
    let (account, hosts) =
        authority.rsplit_once('@').map_or(("", authority), |(account, hosts)| (account, hosts));
    if account.contains('@') || dbname.contains('@') {
        return Err(refused("write `@` in a user name or password as %40 and `/` as %2F"));
    }
    let (user, password) = account.split_once(':').map_or((account, None), |(user, word)| (user, Some(word)));
    push(&mut pairs, "user", user)?;
    push(&mut pairs, "password", password.unwrap_or_default())?;
    let mut names = Vec::new();
    let mut ports = Vec::new();
    for host in hosts.split(',').filter(|host| !host.is_empty()) {
        let (name, port) = split_port(host)?;
        names.push(decoded(name)?);
        ports.push(port);
    }
    if !names.is_empty() {
        pairs.push(("host".into(), names.join(",")));
    }
    if ports.iter().any(|port| !port.is_empty()) {
        let ports: Vec<&str> =
            ports.into_iter().map(|port| if port.is_empty() { "5432" } else { port }).collect();
        pairs.push(("port".into(), ports.join(",")));
    }
    push(&mut pairs, "dbname", dbname)?;
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or_else(|| refused("a parameter after `?` has no `=`"))?;
        push(&mut pairs, key, value)?;
    }
    Ok(pairs)
}

fn push(pairs: &mut Pairs, key: &str, value: &str) -> Result<()> {
    if !value.is_empty() {
        pairs.push((key.into(), decoded(value)?));
    }
    Ok(())
}

/// `[::1]:5432`, `db:5432`, `db`
fn split_port(host: &str) -> Result<(&str, &str)> {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (name, rest) =
                rest.split_once(']').ok_or_else(|| refused("an IPv6 address lacks its `]`"))?;
            (name, rest.strip_prefix(':').unwrap_or(rest))
        }
        None => host.rsplit_once(':').unwrap_or((host, "")),
    };
    if port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok((name, port));
    }
    Err(refused(
        "the port is not a number (in a user name or password write `/` as %2F, `@` as %40, `:` as %3A)",
    ))
}

/// Undoes percent-encoding.
fn decoded(text: &str) -> Result<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let code = rest.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let code = code.filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let code = code.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(
            code.ok_or_else(|| refused("`%` is not followed by two hexadecimal digits; write `%` as %25"))?,
        );
        rest = &rest[2..];
    }
    String::from_utf8(bytes).map_err(|_| refused("percent-encoded text is not UTF-8"))
}

/// Percent-encodes what is not plainly safe.
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// `host=localhost password='it''s'`: values in quotes may hold spaces, `\'` and `\\`.
fn keywords(text: &str) -> Result<Pairs> {
    let mut pairs = Pairs::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.peek().is_none() {
            return Ok(pairs);
        }
        let mut key = String::new();
        while let Some(c) = chars.next_if(|c| *c != '=' && !c.is_whitespace()) {
            key.push(c);
        }
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.next() != Some('=') {
            return Err(refused("neither a postgres:// url nor key=value pairs"));
        }
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        let quoted = chars.next_if_eq(&'\'').is_some();
        let mut value = String::new();
        loop {
            match chars.next() {
                Some('\\') => value.extend(chars.next()),
                Some('\'') if quoted => break,
                Some(c) if !quoted && c.is_whitespace() => break,
                Some(c) => value.push(c),
                None if quoted => return Err(refused("a quoted value is not closed")),
                None => break,
            }
        }
        pairs.push((key, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, want: &[(&str, &str)]) {
        let pairs = parse(text).unwrap();
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(key, value)| (&**key, &**value)).collect();
        assert_eq!(pairs, want, "{text}");
    }

    #[test]
    fn both_forms_are_read() {
        check(
            "postgres://u:p@h:5433/d",
            &[("user", "u"), ("password", "p"), ("host", "h"), ("port", "5433"), ("dbname", "d")],
        );
        check("postgresql://h", &[("host", "h")]);
        check("postgres:///d?host=/tmp", &[("dbname", "d"), ("host", "/tmp")]);
        check("postgres://%2Fvar%2Frun/d", &[("host", "/var/run"), ("dbname", "d")]);
        check("postgres://[::1]:5433,b/d", &[("host", "::1,b"), ("port", "5433,5432"), ("dbname", "d")]);
        check("postgres://u:a%40b%2Fc%23d%25e@h", &[("user", "u"), ("password", "a@b/c#d%e"), ("host", "h")]);
        check(
            "host = h password='a b\\'c\\\\' user=u",
            &[("host", "h"), ("password", "a b'c\\"), ("user", "u")],
        );
    }

    #[test]
    fn t17_unreadable_urls_are_refused_and_never_repeated() {
        for text in [
            "postgres://u:canary@w@h/d",
            "postgres://u:canary/w@h/d",
            "postgres://u:canary#w@h/d",
            "postgres://u:canary%zz@h/d",
            "postgres://u:canary%é@h/d",
            "postgres://u:canary%ff@h/d",
            "postgres://h:canary/d",
            "mysql://u:canary@h/d",
            "u:canary@h/d",
            "password='canary",
            "postgres://h/d?canary",
            "",
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.is_invalid() && !format!("{error:?}").contains("canary"), "{error:?}");
        }
    }

    #[test]
    fn encoding_is_undone_by_decoding() {
        for text in ["a@b/c#d%e:f g", "é€", ""] {
            assert_eq!(decoded(&encoded(text)).unwrap(), text);
        }
    }
}
