//! Reading a stream that is still being written, whatever it is stored in.

use std::collections::VecDeque;

use futures_util::stream;

use super::{BoxStream, Chunk, ChunkPage, DEFAULT_PAGE};
use crate::{BoxFuture, Error, Result};

/// A reader's view of one stream.
pub trait Follow: Send {
    /// A page, as [`get_chunks`](super::OutputStore::get_chunks) reads it. What comes after it began ends the next
    /// [`wait`](Self::wait).
    fn look(&mut self, from: i64, limit: u32) -> BoxFuture<'_, Result<ChunkPage>>;

    /// Waits until there may be something new. A hint only: the next look finds the truth.
    fn wait(&mut self) -> BoxFuture<'_, ()>;
}

/// The chunks that `reader` sees, from `start` on until the stream is closed; see
/// [`read`](super::OutputStore::read).
pub fn follow(reader: Result<Box<dyn Follow>>, start: i64) -> BoxStream<Chunk> {
    let reading = match reader {
        Ok(reader) => Reading::On(Tail { reader, from: start, seen: -1, page: VecDeque::new(), done: false }),
        Err(error) => Reading::Refused(error),
    };
    Box::pin(stream::unfold(reading, |reading| async {
        match reading {
            Reading::Refused(error) => Some((Err(error), Reading::Over)),
            Reading::Over => None,
            Reading::On(mut tail) => match tail.next().await {
                Ok(Some(chunk)) => Some((Ok(chunk), Reading::On(tail))),
                Ok(None) => None,
                Err(error) if error.is_expired() => Some((Err(error), Reading::Over)),
                Err(error) => Some((Err(error), Reading::On(tail))),
            },
        }
    }))
}

enum Reading {
    Refused(Error),
    Over,
    On(Tail),
}

struct Tail {
    reader: Box<dyn Follow>,
    /// Where the next look begins.
    from: i64,
    /// The last index that was ever seen to exist.
    seen: i64,
    page: VecDeque<Chunk>,
    /// The page is the last one.
    done: bool,
}

impl Tail {
    async fn next(&mut self) -> Result<Option<Chunk>> {
        loop {
            if let Some(chunk) = self.page.pop_front() {
                return Ok(Some(chunk));
            }
            if self.done {
                return Ok(None);
            }
            let page = self.reader.look(self.from, DEFAULT_PAGE).await?;
            if page.tail_index < self.seen {
                return Err(Error::expired("the output stream was deleted"));
            }
            self.seen = page.tail_index;
            self.done = page.done && !page.has_more;
            // A negative start is resolved by the first look.
            self.from = page.cursor;
            if page.chunks.is_empty() && !self.done {
                self.reader.wait().await;
            }
            self.page = page.chunks.into();
        }
    }
}
