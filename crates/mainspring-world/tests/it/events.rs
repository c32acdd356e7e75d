//! The log of a run.

use mainspring_world::{Event, EventType::*, Order, Page, Paging, Resolve};
use serde_json::json;

use crate::ground::{Ground, claim_step, complete, complete_step, create_step, on_both, start_step};

on_both! {
    events_come_in_their_order_and_in_pages
    events_are_found_by_what_they_are_about
    an_event_names_itself
}

fn types(page: &Page<Event>) -> Vec<&'static str> {
    page.data.iter().map(|event| event.event_type.as_str()).collect()
}

async fn events_come_in_their_order_and_in_pages(ground: Ground) {
    // W09, W10
    let run = ground.running().await;
    ground.does(&run, claim_step("s")).await;
    ground.does(&run, complete(json!("nul \0 kept"))).await;
    ground.does(&run, complete_step("s", json!(2))).await; // after the end
    let all = [RunCreated, RunStarted, StepCreated, StepStarted, RunCompleted, StepCompleted];
    assert_eq!(ground.log(&run).await, all);
    let events = ground.storage.events();
    for order in [Order::Ascending, Order::Descending] {
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let paging = Paging::limit(2).order(order).after(cursor);
            let page = events.list(&run, &paging, Resolve::All).await.unwrap();
            seen.extend(page.data.iter().map(|event| event.event_type));
            cursor = page.cursor;
            if !page.has_more {
                break;
            }
        }
        if order == Order::Descending {
            seen.reverse();
        }
        assert_eq!(seen, all, "{order:?}");
    }
    let list = events.list(&run, &Paging::default(), Resolve::All).await.unwrap();
    assert_eq!(list.data[4].event_data, Some(json!({"output": "nul \0 kept"})));
    assert!(list.data.windows(2).all(|two| two[0].event_id < two[1].event_id));
    let bare = events.list(&run, &Paging::default(), Resolve::None).await.unwrap();
    assert!(bare.data.iter().all(|event| event.event_data.is_none()));
    let stray = Paging::default().after(Some("é".to_owned()));
    assert!(events.list(&run, &stray, Resolve::All).await.unwrap_err().is_invalid());
}

async fn events_are_found_by_what_they_are_about(ground: Ground) {
    // W11
    let (first, second) = (ground.running().await, ground.running().await);
    for run in [&first, &second] {
        ground.does(run, create_step("shared")).await;
        ground.does(run, start_step("shared")).await;
    }
    ground.does(&first, create_step("own")).await;
    ground.does(&first, complete(None)).await;
    ground.does(&first, complete_step("shared", json!(1))).await;
    let events = ground.storage.events();
    let own = events.list_by_correlation_id("own", &Paging::default(), Resolve::All).await.unwrap();
    assert_eq!(types(&own), ["step_created"]);
    assert_eq!(own.data[0].event_data, Some(json!({"stepName": "plus", "input": [1, 2]})));
    let none = events.list_by_correlation_id("none", &Paging::default(), Resolve::All).await.unwrap();
    assert!(none.data.is_empty() && none.cursor.is_none() && !none.has_more);
    let all = ["step_created", "step_started", "step_created", "step_started", "step_completed"];
    let shared = events.list_by_correlation_id("shared", &Paging::default(), Resolve::All).await.unwrap();
    assert_eq!(types(&shared), all);
    for order in [Order::Ascending, Order::Descending] {
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let paging = Paging::limit(2).order(order).after(cursor);
            let page = events.list_by_correlation_id("shared", &paging, Resolve::None).await.unwrap();
            seen.extend(types(&page));
            cursor = page.cursor;
            if !page.has_more {
                break;
            }
        }
        if order == Order::Descending {
            seen.reverse();
        }
        assert_eq!(seen, all, "{order:?}");
    }
}

async fn an_event_names_itself(ground: Ground) {
    let run = ground.running().await;
    let created = ground.does(&run, create_step("s")).await.event.unwrap();
    ground.does(&run, start_step("s")).await;
    ground.does(&run, complete(None)).await;
    let late = ground.does(&run, complete_step("s", json!(1))).await.event.unwrap();
    let list = ground.storage.events().list(&run, &Paging::default(), Resolve::All).await.unwrap();
    let listed = |event: &Event| {
        list.data.iter().any(|other| Event { created_at: event.created_at, ..other.clone() } == *event)
    };
    assert!(listed(&created) && listed(&late));
}
