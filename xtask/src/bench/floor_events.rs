//! The floors of the event store: heads, events, and one function that appends; each append its own commit.

use std::{
    error::Error,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use serde_json::Value;

use super::{
    events::{STREAM, TYPE, fact},
    floor::Floor,
    load::{Load, Rate},
};

pub const TABLES: &str = "
CREATE TABLE floor.streams (id text PRIMARY KEY, version bigint NOT NULL);
CREATE TABLE floor.events (pos bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, stream text NOT NULL, version bigint NOT NULL,
  type text NOT NULL, data jsonb NOT NULL, meta jsonb, at timestamptz NOT NULL DEFAULT now(), UNIQUE (stream, version));
CREATE FUNCTION floor.append(p_stream text, p_expected bigint, p_types text[], p_data jsonb[]) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE n int := cardinality(p_types); last bigint;
BEGIN
  IF p_expected = 0 THEN INSERT INTO floor.streams VALUES (p_stream, n) ON CONFLICT DO NOTHING RETURNING version INTO last;
  ELSE UPDATE floor.streams SET version = version + n WHERE id = p_stream AND (p_expected IS NULL OR version = p_expected)
    RETURNING version INTO last;
  END IF;
  IF NOT FOUND THEN RAISE EXCEPTION 'wrong expected version' USING errcode = '40001'; END IF;
  INSERT INTO floor.events (stream, version, type, data)
    SELECT p_stream, last - n + o, t, d FROM unnest(p_types, p_data) WITH ORDINALITY AS u(t, d, o);
  RETURN last;
END $$;";

impl Floor {
    /// `width` writers, each in a stream of its own, `events` an append, where they left it.
    pub async fn append(&self, width: usize, events: usize, load: Load) -> Result<Rate, Box<dyn Error>> {
        let clients = self.clients(width).await?;
        let run = self.next_run();
        load.run(width, |n, stop, done| {
            let client = Arc::clone(&clients[n]);
            async move {
                let append = client.prepare("SELECT floor.append($1, $2, $3, $4)").await?;
                let (stream, mut version) = (format!("s-{run}-{n}"), Some(0_i64));
                while Instant::now() < stop {
                    let data: Vec<Value> = (0..events).map(fact).collect();
                    let types = vec![TYPE; events];
                    version = client.query_one(&append, &[&stream, &version, &types, &data]).await?.get(0);
                    done.fetch_add(events as u64, Ordering::Relaxed);
                }
                Ok(())
            }
        })
        .await
    }

    /// `width` writers in one stream that expect nothing.
    pub async fn append_hot(&self, width: usize, load: Load) -> Result<Rate, Box<dyn Error>> {
        let clients = self.clients(width).await?;
        let stream = format!("hot-{}", self.next_run());
        clients[0].execute("INSERT INTO floor.streams VALUES ($1, 0)", &[&stream]).await?;
        load.run(width, |n, stop, done| {
            let (client, stream) = (Arc::clone(&clients[n]), stream.clone());
            async move {
                let append = client.prepare("SELECT floor.append($1, NULL, $2, $3)").await?;
                while Instant::now() < stop {
                    client.query_one(&append, &[&stream, &vec![TYPE], &vec![fact(n)]]).await?;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            }
        })
        .await
    }

    /// All events of one stream in one statement, one reader.
    pub async fn read(&self, events: usize, load: Load) -> Result<Rate, Box<dyn Error>> {
        let client = Arc::new(self.client().await?);
        let (types, data) = (vec![TYPE; events], (0..events).map(fact).collect::<Vec<_>>());
        let there = client.query_opt("SELECT FROM floor.streams WHERE id = $1", &[&STREAM]).await?;
        if there.is_none() {
            client.query_one("SELECT floor.append($1, 0, $2, $3)", &[&STREAM, &types, &data]).await?;
            client.batch_execute("ANALYZE floor.events").await?;
        }
        load.run(1, |_, stop, done| {
            let client = Arc::clone(&client);
            async move {
                let read = client
                    .prepare("SELECT pos, version, type, data, meta, at FROM floor.events WHERE stream = $1 ORDER BY version")
                    .await?;
                while Instant::now() < stop {
                    let rows = client.query(&read, &[&STREAM]).await?;
                    let sum: i64 =
                        rows.iter().filter_map(|row| row.get::<_, Value>(3)["quantity"].as_i64()).sum();
                    assert_eq!(sum, 2 * i64::try_from(events)?);
                    done.fetch_add(events as u64, Ordering::Relaxed);
                }
                Ok(())
            }
        })
        .await
    }
}
