//! What must hold at every moment, whatever has broken.

use mainspring::Names;
use mainspring_pg::Session;

/// What does not hold right now: an execution that nobody drives and that waits for nobody outside, a job without a message, a
/// message in nobody's hands, one that is there twice, and what should have ended with its execution.
///
/// # Panics
/// When the database cannot be asked.
pub async fn broken_invariants(client: &Session, names: &Names) -> Vec<String> {
    let sql = names.render(include_str!("invariants.sql"));
    let rows = client.query(&*sql, &[]).await.expect("the invariants are read");
    rows.iter().map(|row| row.get(0)).collect()
}
