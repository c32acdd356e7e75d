//! libpq's file of passwords.

use crate::Settings;

const HOST: &str = "localhost";

impl Settings {
    /// Whether they have a password.
    pub fn has_password(&self) -> bool {
        self.password.is_some()
    }

    /// With the password that libpq's file of passwords has for these settings: the fifth part of the first of its lines
    /// `host:port:database:user:password` that fits, where `*` fits everything; none fits, none is set. The text is that of the
    /// file, and `whoami` the operating system's user, which is meant where no user is named.
    #[must_use]
    pub fn with_password_of(mut self, file: &str, whoami: &str) -> Self {
        let user = self.user.as_deref().unwrap_or(whoami);
        let host = self.hosts.first().map_or(HOST, String::as_str);
        let host = if host.starts_with('/') { HOST } else { host };
        let port = self.ports.first().copied().unwrap_or(5432).to_string();
        let database = self.dbname.as_deref().unwrap_or(user);
        let wanted = [host, port.as_str(), database, user];
        self.password = file.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
            let parts = parts(line);
            let fits = |(part, wanted): (&String, &&str)| part == "*" || part == wanted;
            (parts.len() == 5 && parts.iter().zip(&wanted).all(fits)).then(|| parts[4].clone())
        });
        self
    }
}

/// Five parts between colons, the last to the end of the line; a colon with a backslash before it is a part of the text.
fn parts(line: &str) -> Vec<String> {
    let (mut parts, mut part) = (Vec::new(), String::new());
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            ':' if parts.len() < 4 => parts.push(std::mem::take(&mut part)),
            '\\' => part.extend(letters.next()),
            letter => part.push(letter),
        }
    }
    parts.push(part);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_fits_has_the_password() {
        let file = "# none\nh:5432:other:u:no\nh:5433:d:u:p\\:a\\\\ss:word\nh:*:*:*:any";
        let of = |text: &str| Settings::parse(text).unwrap().with_password_of(file, "nobody").password;
        assert_eq!(of("host=h port=5433 dbname=d user=u").as_deref(), Some("p:a\\ss:word"));
        assert_eq!(of("host=h dbname=d user=v").as_deref(), Some("any"));
        assert_eq!(of("host=g dbname=d user=u"), None);
    }
}
