//! Documents by themselves, and document projections: E37, E38, E39.

use mainspring_consumer::{Compare, DocumentProjection, Documents, Find, Processor, Projection, StartFrom};
use mainspring_core::{Append, EventStore, Expect, NewEvent, RecordedEvent};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::ground::{Ground, n_of};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Cart {
    items: u32,
    total: i64,
}

fn added(cart: Option<Cart>, event: &RecordedEvent) -> Option<Cart> {
    let Cart { items, total } = cart.unwrap_or_default();
    (event.event.event_type != "Discarded").then(|| Cart { items: items + 1, total: total + n_of(event) })
}

fn carts() -> DocumentProjection<Cart> {
    DocumentProjection::of_streams("carts", added)
}

async fn totals(ground: &Ground, collection: &str) -> Vec<(String, i64, u32)> {
    let documents = Documents::<Cart>::new(&ground.db, collection).unwrap();
    let all = documents.find(Find::all()).await.unwrap();
    all.into_iter().map(|document| (document.id, document.data.total, document.data.items)).collect()
}

#[tokio::test]
async fn a_stream_becomes_a_document_and_its_end_deletes_it() {
    // E37
    let ground = Ground::new().await;
    for (stream, event_type, n) in
        [("a", "Added", 1), ("b", "Added", 2), ("a", "Added", 3), ("c", "Added", 4)]
    {
        ground.append_to(stream, event_type, n).await;
    }
    ground.run_to_end(ground.consumer().projector("carts", carts())).await;
    let expected = |rows: &[(&str, i64, u32)]| {
        rows.iter().map(|(id, t, n)| ((*id).to_owned(), *t, *n)).collect::<Vec<_>>()
    };
    assert_eq!(totals(&ground, "carts").await, expected(&[("a", 4, 2), ("b", 2, 1), ("c", 4, 1)]));
    ground.append_to("a", "Added", 5).await;
    ground.append_to("b", "Discarded", 0).await;
    ground.append_to("d", "Added", 6).await;
    ground.append_to("d", "Discarded", 0).await;
    ground.run_to_end(ground.consumer().projector("carts", carts())).await;
    assert_eq!(totals(&ground, "carts").await, expected(&[("a", 9, 3), ("c", 4, 1)]));

    // The same events again change nothing in the documents that are there.
    let again = Processor::projector("again", carts()).start_from(StartFrom::After(3));
    ground.run_to_end(ground.consumer().processor(again)).await;
    assert_eq!(totals(&ground, "carts").await, expected(&[("a", 9, 3), ("c", 4, 1)]));
    let document = Documents::<Cart>::new(&ground.db, "carts").unwrap().get("a").await.unwrap().unwrap();
    assert_eq!(document.revision, 2, "a batch is one write");
    assert!(document.updated_at >= document.created_at);
}

#[tokio::test]
async fn an_event_belongs_to_no_one_or_several_documents() {
    // E38
    let ground = Ground::new().await;
    let by_parity = |version| {
        DocumentProjection::by(
            "parity",
            |event: &RecordedEvent| match n_of(event) {
                0 => vec![],
                n if n % 10 == 0 => vec!["even", "round", "even"],
                n if n % 2 == 0 => vec!["even"],
                _ => vec!["odd"],
            },
            added,
        )
        .version(version)
    };
    ground.append([0, 1, 2, 3, 10, 0, 20]).await;
    ground.run_to_end(ground.consumer().batch_size(3).projector("parity", by_parity(1))).await;
    let expected = [("even".to_owned(), 32, 3), ("odd".to_owned(), 4, 2), ("round".to_owned(), 30, 2)];
    assert_eq!(totals(&ground, "parity").await, expected);

    // Another version has its own documents; without a registry the first one is read.
    let second = Processor::projector("parity", by_parity(2)).version(2);
    ground.run_to_end(ground.consumer().processor(second)).await;
    assert_eq!(totals(&ground, "parity").await, expected);
    let all = Documents::<Cart>::new(&ground.db, "parity").unwrap().of_version(2);
    assert_eq!(all.count().await.unwrap(), 3);
    let client = ground.db.begin_plain(vec![]).await.unwrap().0;
    by_parity(2).clear(&client.db().unwrap()).await.unwrap();
    client.commit(vec![]).await.unwrap();
    assert_eq!((all.count().await.unwrap(), totals(&ground, "parity").await.len()), (0, 3));
}

#[tokio::test]
async fn tenants_have_documents_of_their_own() {
    // E52 for projections
    let ground = Ground::new().await;
    for (tenant, n) in [("", 1), ("acme", 2), ("acme", 3)] {
        let mut append = Append::to("a", vec![NewEvent::new("Added", json!({"n": n}))]);
        append.tenant = tenant.into();
        ground.log().append(append).await.unwrap();
    }
    ground.run_to_end(ground.consumer().projector("carts", carts())).await;
    let nobodys = Documents::<Cart>::new(&ground.db, "carts").unwrap();
    let theirs = nobodys.clone().of_tenant("acme").unwrap();
    assert_eq!(nobodys.get("a").await.unwrap().unwrap().data.total, 1);
    assert_eq!(theirs.get("a").await.unwrap().unwrap().data.total, 5);
}

#[tokio::test]
async fn documents_are_written_as_expected_or_not_at_all() {
    let ground = Ground::new().await;
    let documents = Documents::<Value>::new(&ground.db, "things").unwrap();
    assert_eq!(documents.put_if("a", &json!(1), Expect::New).await.unwrap(), 1);
    assert!(documents.put_if("a", &json!(2), Expect::New).await.unwrap_err().is_conflict());
    assert!(documents.put_if("b", &json!(2), Expect::Revision(1)).await.unwrap_err().is_conflict());
    assert_eq!(documents.put("a", &json!(2)).await.unwrap(), 2);
    assert_eq!(documents.put_if("a", &json!(3), Expect::Revision(2)).await.unwrap(), 3);
    assert!(!documents.delete("a", Some(2)).await.unwrap());
    assert!(documents.delete("a", Some(3)).await.unwrap());
    assert!(!documents.delete("a", None).await.unwrap());
    assert_eq!(documents.get("a").await.unwrap(), None);
    for (id, problem) in [("", "empty"), ("a\nb", "control")] {
        let error = documents.put(id, &json!(1)).await.unwrap_err();
        assert!(error.is_invalid() && error.to_string().contains(problem), "{error}");
    }
    assert!(Documents::<Value>::new(&ground.db, "").is_err());
    assert!(documents.put("a", &json!("\0")).await.unwrap_err().is_invalid());

    // In the caller's transaction.
    let mut client = ground.test.client().await;
    let tx = client.transaction().await.unwrap();
    documents.on(&tx).put("a", &json!(1)).await.unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(documents.get("a").await.unwrap(), None);
}

#[tokio::test]
async fn documents_are_found_by_what_they_contain_and_how_they_compare() {
    let ground = Ground::new().await;
    let documents = Documents::<Value>::new(&ground.db, "things").unwrap();
    for (id, data) in [
        ("a", json!({"kind": "x", "n": 1, "in": {"deep": [1, 2]}})),
        ("b", json!({"kind": "x", "n": 2})),
        ("c", json!({"kind": "y", "n": "2"})),
        ("d", json!({"kind": "y"})),
        ("e", json!([1])),
    ] {
        documents.put(id, &data).await.unwrap();
    }
    client_index(&ground, &documents.index_sql()).await;
    let two = || json!(2);
    for (find, expected) in [
        (Find::all(), "abcde"),
        (Find::containing(json!({"kind": "x"})), "ab"),
        (Find::containing(json!({"in": {"deep": [2]}})), "a"),
        (Find::all().and("n", Compare::Eq, two()), "b"),
        (Find::all().and("n", Compare::Ne, two()), "acde"),
        (Find::all().and("n", Compare::Lt, two()), "a"),
        (Find::all().and("n", Compare::Le, two()), "ab"),
        (Find::all().and("n", Compare::Gt, json!(1)), "b"),
        (Find::all().and("n", Compare::Ge, json!("2")), "c"),
        (Find::all().and("in.deep.1", Compare::Eq, two()), "a"),
        (
            Find::containing(json!({"kind": "x"})).and("n", Compare::Gt, json!(1)).and(
                "n",
                Compare::Lt,
                json!(9),
            ),
            "b",
        ),
        (Find::all().limit(2), "ab"),
        (Find::all().after("b").limit(2), "cd"),
    ] {
        let found: String =
            documents.find(find.clone()).await.unwrap().into_iter().map(|document| document.id).collect();
        assert_eq!(found, expected, "{find:?}");
    }
    assert!(documents.find(Find::all().limit(0)).await.unwrap_err().is_invalid());
    assert_eq!(documents.count().await.unwrap(), 5);
}

async fn client_index(ground: &Ground, sql: &str) {
    ground.test.client().await.batch_execute(sql).await.unwrap();
}
