//! The Postgres a command uses when none is named: one of its own, started for it and gone with it.

use std::error::Error;

use mainspring_embedded::{Options, Server};

/// `url` when given, else `DATABASE_URL`, else a throwaway server. Says which on standard error.
pub fn find(url: Option<&str>, options: Options) -> Result<Server, Box<dyn Error>> {
    let server = match url {
        Some(url) => Server::External(url.to_owned()),
        None => Server::from_env("DATABASE_URL", options)?,
    };
    eprintln!("{server}");
    Ok(server)
}
