//! Reading a page: the chunks and where their stream stands, at one moment.

use bytes::Bytes;
use mainspring_core::{Chunk, ChunkPage, OutputStream, Result, output::MAX_PAGE_BYTES};
use mainspring_pg::{Db, row::get};

/// `from` is resolved against the end by the same statement that reads.
const PAGE: &str = include_str!("sql/page.sql");

pub(crate) async fn read(db: &Db<'_>, stream: &OutputStream, from: i64, limit: u32) -> Result<ChunkPage> {
    let (limit, bytes) = (i64::from(limit), MAX_PAGE_BYTES as i64);
    let rows = db.all(PAGE, &[&stream.owner(), &stream.name, &from, &limit, &bytes]).await?;
    let Some(row) = rows.first() else {
        return Ok(ChunkPage {
            chunks: Vec::new(),
            cursor: from.max(0),
            has_more: false,
            done: false,
            tail_index: -1,
        });
    };
    let (count, done, start) = (get::<i64>(row, 0)?, get(row, 1)?, get::<i64>(row, 2)?);
    let mut chunks = Vec::with_capacity(rows.len());
    for row in &rows {
        if let Some(index) = get::<Option<i64>>(row, 3)? {
            chunks.push(Chunk { index, data: Bytes::copy_from_slice(get(row, 4)?) });
        }
    }
    let cursor = start + chunks.len() as i64;
    Ok(ChunkPage { chunks, cursor, has_more: cursor < count, done, tail_index: count - 1 })
}
