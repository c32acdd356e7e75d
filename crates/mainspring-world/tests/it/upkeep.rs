//! The upkeep of a world's database.

use mainspring::{PgStoreOptions, PgStores};
use mainspring_testing::TestDb;
use mainspring_world::World;

#[tokio::test]
async fn a_started_world_does_the_upkeep_of_its_database_unless_told_not_to() {
    let db = TestDb::new().await;
    let stores = PgStores::connect(db.url(), PgStoreOptions::default()).unwrap();
    let holder = async || {
        let row = stores.db().opt("SELECT holder FROM {upkeep}", &[]).await.unwrap();
        row.map(|row| row.get::<_, String>(0))
    };
    let world = World::builder(stores.clone()).upkeep(false).build().unwrap();
    world.start().await.unwrap();
    world.close().await.unwrap();
    assert_eq!(holder().await, None);

    let world = World::builder(stores.clone()).build().unwrap();
    world.start().await.unwrap();
    while holder().await.is_none_or(|holder| holder.is_empty()) {
        tokio::task::yield_now().await;
    }
    world.close().await.unwrap();
    assert_eq!(holder().await.as_deref(), Some(""), "somebody else may do it at once");
}
