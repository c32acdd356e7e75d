//! Which message of a Postgres client commits.

use std::{collections::HashSet, io};

use tokio::io::{AsyncRead, AsyncReadExt};

/// Version 3.0 of the protocol, in the message that begins a session.
const STARTUP: u32 = 3 << 16;

/// Longer messages than this are not Postgres.
const MAX_LENGTH: usize = 1 << 30;

/// Reads the messages of one client.
#[derive(Default)]
pub(super) struct CommitWatch {
    begun: bool,
    /// Names of prepared statements and of portals that commit.
    statements: HashSet<Vec<u8>>,
    portals: HashSet<Vec<u8>>,
}

/// A whole message, as it is to be passed on.
pub(super) struct Message {
    pub(super) bytes: Vec<u8>,
    pub(super) commits: bool,
}

impl CommitWatch {
    pub(super) async fn next(&mut self, from: &mut (impl AsyncRead + Unpin)) -> io::Result<Message> {
        let head = if self.begun { 5 } else { 4 };
        let mut bytes = vec![0; head];
        from.read_exact(&mut bytes).await?;
        let length = number(&bytes[head - 4..]) as usize;
        if !(4..MAX_LENGTH).contains(&length) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        bytes.resize(head + length - 4, 0);
        from.read_exact(&mut bytes[head..]).await?;
        let commits = self.begun && self.commits(bytes[0], &bytes[5..]);
        // Requests for TLS and to cancel have no type either, and a session may still begin after them.
        self.begun = self.begun || (length >= 8 && number(&bytes[4..8]) >> 16 == STARTUP >> 16);
        Ok(Message { bytes, commits })
    }

    fn commits(&mut self, kind: u8, body: &[u8]) -> bool {
        let mut texts = body.split(|byte| *byte == 0);
        let mut text = || texts.next().unwrap_or_default();
        match kind {
            b'Q' => is_commit(text()),
            b'P' => {
                let (statement, sql) = (text().to_vec(), text());
                mark(&mut self.statements, statement, is_commit(sql));
                false
            }
            b'B' => {
                let (portal, statement) = (text().to_vec(), text());
                let commits = self.statements.contains(statement);
                mark(&mut self.portals, portal, commits);
                false
            }
            b'E' => self.portals.contains(text()),
            _ => false,
        }
    }
}

/// Finds the answer to a COMMIT in what the server sends, in whatever pieces it comes.
#[derive(Default)]
pub(super) struct ReplyWatch {
    tail: Vec<u8>,
}

impl ReplyWatch {
    /// CommandComplete, its length, its tag.
    const COMMITTED: &'static [u8] = b"C\0\0\0\x0bCOMMIT\0";

    pub(super) fn ends_commit(&mut self, piece: &[u8]) -> bool {
        self.tail.extend_from_slice(piece);
        let found = self.tail.windows(Self::COMMITTED.len()).any(|bytes| bytes == Self::COMMITTED);
        let keep = self.tail.len().saturating_sub(Self::COMMITTED.len() - 1);
        self.tail.drain(..keep);
        found
    }
}

fn mark(names: &mut HashSet<Vec<u8>>, name: Vec<u8>, commits: bool) {
    if commits {
        names.insert(name);
    } else {
        names.remove(&name);
    }
}

/// One of its statements is COMMIT, with or without more words.
fn is_commit(sql: &[u8]) -> bool {
    let Ok(sql) = std::str::from_utf8(sql) else { return false };
    sql.split(';')
        .filter_map(|statement| statement.split_whitespace().next())
        .any(|word| word.eq_ignore_ascii_case("COMMIT"))
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn startup(code: u32) -> Vec<u8> {
        [&8_u32.to_be_bytes()[..], &code.to_be_bytes()[..]].concat()
    }

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[kind], &length.to_be_bytes()[..], body].concat()
    }

    #[tokio::test]
    async fn only_commits_commit() {
        let sent = [
            (startup(80_877_103), false),
            (startup(STARTUP), false),
            (message(b'Q', b"SELECT 'COMMIT'\0"), false),
            (message(b'Q', b"commit\0"), true),
            (message(b'Q', b"SELECT 1; COMMIT AND CHAIN\0"), true),
            (message(b'P', b"s1\0COMMIT\0\0\0"), false),
            (message(b'P', b"s2\0SELECT 1\0\0\0"), false),
            (message(b'B', b"\0s1\0\0\0\0\0\0\0"), false),
            (message(b'E', b"\0\0\0\0\0"), true),
            (message(b'B', b"\0s2\0\0\0\0\0\0\0"), false),
            (message(b'E', b"\0\0\0\0\0"), false),
            (message(b'S', b""), false),
        ];
        let bytes: Vec<u8> = sent.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
        let (mut from, mut watch) = (&bytes[..], CommitWatch::default());
        for (expected, commits) in sent {
            let read = watch.next(&mut from).await.unwrap();
            assert_eq!((read.bytes, read.commits), (expected, commits));
        }
        assert!(watch.next(&mut from).await.is_err());
    }

    #[test]
    fn the_answer_to_a_commit_is_found_in_pieces() {
        let answer =
            [message(b'C', b"INSERT 0 1\0"), message(b'C', b"COMMIT\0"), message(b'Z', b"I")].concat();
        for size in 1..answer.len() {
            let mut watch = ReplyWatch::default();
            assert_eq!(answer.chunks(size).filter(|piece| watch.ends_commit(piece)).count(), 1, "{size}");
        }
        assert!(!ReplyWatch::default().ends_commit(b"a row with COMMIT\0 in it"));
    }
}
