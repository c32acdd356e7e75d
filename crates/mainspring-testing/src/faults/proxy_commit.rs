//! Which message of a Postgres client commits.

use std::{collections::HashMap, io};

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
    statements: HashMap<Vec<u8>, Tag>,
    portals: HashMap<Vec<u8>, Tag>,
    /// A commit in one call was executed; the end of its messages commits it.
    called: bool,
}

/// CommandComplete, its length, its tag: the answer to what commits.
pub(super) type Tag = &'static [u8];
const COMMITTED: Tag = b"C\0\0\0\x0bCOMMIT\0";
const CALLED: Tag = b"C\0\0\0\x0dSELECT 1\0";

/// A whole message, as it is to be passed on.
pub(super) struct Message {
    pub(super) bytes: Vec<u8>,
    /// The answer to wait for, when it commits.
    pub(super) commits: Option<Tag>,
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
        let commits = if self.begun { self.commits(bytes[0], &bytes[5..]) } else { None };
        // Requests for TLS and to cancel have no type either, and a session may still begin after them.
        self.begun = self.begun || (length >= 8 && number(&bytes[4..8]) >> 16 == STARTUP >> 16);
        Ok(Message { bytes, commits })
    }

    fn commits(&mut self, kind: u8, body: &[u8]) -> Option<Tag> {
        let mut texts = body.split(|byte| *byte == 0);
        let mut text = || texts.next().unwrap_or_default();
        match kind {
            b'Q' => is_commit(text()).then_some(COMMITTED),
            b'P' => {
                let (statement, sql) = (text().to_vec(), text());
                let tag = is_commit(sql).then_some(COMMITTED).or(is_call(sql).then_some(CALLED));
                mark(&mut self.statements, statement, tag);
                None
            }
            b'B' => {
                let (portal, statement) = (text().to_vec(), text());
                let tag = self.statements.get(statement).copied();
                mark(&mut self.portals, portal, tag);
                None
            }
            b'E' => {
                let tag = self.portals.get(text()).copied();
                self.called = tag == Some(CALLED);
                tag.filter(|_| !self.called)
            }
            b'S' => std::mem::take(&mut self.called).then_some(CALLED),
            _ => None,
        }
    }
}

/// Finds the answer to a COMMIT in what the server sends, in whatever pieces it comes.
#[derive(Default)]
pub(super) struct ReplyWatch {
    tail: Vec<u8>,
}

impl ReplyWatch {
    pub(super) fn ends(&mut self, tag: Tag, piece: &[u8]) -> bool {
        self.tail.extend_from_slice(piece);
        let found = self.tail.windows(tag.len()).any(|bytes| bytes == tag);
        let keep = self.tail.len().saturating_sub(tag.len() - 1);
        self.tail.drain(..keep);
        found
    }
}

fn mark(names: &mut HashMap<Vec<u8>, Tag>, name: Vec<u8>, tag: Option<Tag>) {
    match tag {
        Some(tag) => names.insert(name, tag),
        None => names.remove(&name),
    };
}

/// A commit in one call.
fn is_call(sql: &[u8]) -> bool {
    let calls = |name: &[u8]| sql.windows(name.len()).any(|text| text == name);
    sql.starts_with(b"SELECT") && (calls(b"commit_call\"(") || calls(b"append\"("))
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
            (message(b'P', b"s3\0SELECT \"public\".\"ms_commit_call\"($1)\0\0\0"), false),
            (message(b'B', b"\0s3\0\0\0\0\0\0\0"), false),
            (message(b'E', b"\0\0\0\0\0"), false),
            (message(b'S', b""), true),
            (message(b'S', b""), false),
        ];
        let bytes: Vec<u8> = sent.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
        let (mut from, mut watch) = (&bytes[..], CommitWatch::default());
        for (expected, commits) in sent {
            let read = watch.next(&mut from).await.unwrap();
            assert_eq!((read.bytes, read.commits.is_some()), (expected, commits));
        }
        assert!(watch.next(&mut from).await.is_err());
    }

    #[test]
    fn the_answer_to_a_commit_is_found_in_pieces() {
        let answer =
            [message(b'C', b"INSERT 0 1\0"), message(b'C', b"COMMIT\0"), message(b'Z', b"I")].concat();
        for size in 1..answer.len() {
            let mut watch = ReplyWatch::default();
            assert_eq!(answer.chunks(size).filter(|piece| watch.ends(COMMITTED, piece)).count(), 1, "{size}");
        }
        assert!(!ReplyWatch::default().ends(COMMITTED, b"a row with COMMIT\0 in it"));
    }
}
