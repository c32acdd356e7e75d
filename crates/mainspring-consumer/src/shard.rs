//! Which of several instances handles a stream.

use mainspring_core::RecordedEvent;

/// Whether the event is in shard `index` of `of`. All events of a stream are in one shard, and stay there for as long as
/// there are so many shards: the hash is our own (FNV-1a), no server's and no library's.
pub(crate) fn is_in((index, of): (u32, u32), event: &RecordedEvent) -> bool {
    of <= 1 || shard_of(event, of) == index
}

fn shard_of(event: &RecordedEvent, of: u32) -> u32 {
    let parts = [event.partition.as_bytes(), &[0], event.tenant.as_bytes(), &[0], event.stream.as_bytes()];
    let hash = parts.into_iter().flatten().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // The low bits of FNV-1a are its weak ones.
    u32::try_from((hash ^ (hash >> 32)) % u64::from(of)).unwrap_or_default()
}
