//! Every effect passes the one place for effects. The types make it easy to (`digitalocean::Request` has a name, a transaction that
//! writes begins with one); this test reads the sources and tells of what goes around it.

#![allow(clippy::unwrap_used)] // clippy takes only functions marked `#[test]` for tests

use std::{
    fs,
    path::{Path, PathBuf},
};

/// What a statement that changes something says somewhere.
const WRITES: &[&str] = &[
    "insert into ",
    "update ",
    "delete from ",
    "query_file",
    "toolplane.event_record(",
    "toolplane.requests_take(",
];

/// Where the schema's mechanism is, and nothing that has an effect.
const MECHANISM: &str = "database.rs";

/// The files below a folder of the workspace, tests aside.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(folder);
    let mut folders = vec![root];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("tests") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
                sources.push((path.clone(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(!sources.is_empty(), "{folder} has sources");
    sources
}

/// The name of the function that a place stands in.
fn function(source: &str, at: usize) -> &str {
    let after = source[..at].rfind("fn ").map_or("", |from| &source[from + "fn ".len()..]);
    let end = after.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
    &after[..end.unwrap_or(after.len())]
}

/// The function that a place stands in, up to the next one.
fn body(source: &str, at: usize) -> &str {
    let from = source[..at].rfind("fn ").unwrap_or_default();
    let to = source[at..].find("fn ").map_or(source.len(), |to| at + to);
    &source[from..to]
}

/// Writes that go to the database by themselves, and transactions that may write without a name.
fn writes_around(file: &str, source: &str) -> Vec<String> {
    let mut around = Vec::new();
    for (at, _) in source.match_indices("sqlx::query") {
        let rest = &source[at..];
        let ends = [";\n", "\n    }"].iter().filter_map(|end| rest.find(end));
        let statement = &rest[..ends.min().unwrap_or(rest.len())];
        let writes = WRITES.iter().any(|word| statement.contains(word));
        if writes && statement.contains("(&self.pool)") && !body(source, at).contains(".write(\"") {
            around.push(format!("{file}: {} writes, and not by self.write(..)", function(source, at)));
        }
    }
    let begun = source.match_indices(".begin_with(").filter(|(at, _)| {
        let how = source[*at..].lines().next().unwrap_or_default();
        !how.contains("read only")
    });
    let begun = begun.chain(source.match_indices("pool.begin()"));
    around.extend(begun.map(|(at, _)| {
        let function = function(source, at);
        format!("{file}: {function} begins a transaction, and not by self.begin(..)")
    }));
    let taken = source
        .match_indices("pool.acquire()")
        .filter(|(at, _)| WRITES.iter().any(|word| body(source, *at).contains(word)));
    around.extend(taken.map(|(at, _)| format!("{file}: {} writes over a connection of its own", function(source, at))));
    around
}

/// Effects that are called other than the method that has them.
fn misnamed(file: &str, source: &str) -> Vec<String> {
    let mut misnamed = Vec::new();
    for call in [
        "self.write(\"",
        "self.begin(\"",
        "self.fenced(\"",
        "Request::get(\"",
        "Request::new(\"",
    ] {
        for (at, _) in source.match_indices(call) {
            let name = source[at + call.len()..].split('"').next().unwrap();
            let function = function(source, at);
            if name != function {
                misnamed.push(format!("{file}: {function} has an effect that is called {name}"));
            }
        }
    }
    misnamed
}

/// Requests that are sent without passing the place.
fn requests_around(file: &str, source: &str, sending: &str) -> Vec<String> {
    let sent = source.match_indices(sending);
    let around = sent.filter(|(at, _)| {
        let body: String = body(source, *at).split_whitespace().collect();
        !body.contains("effects.run(") && !body.contains("self.read(")
    });
    around
        .map(|(at, _)| format!("{file}: {} sends, and not by effects.run(..)", function(source, at)))
        .collect()
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap()
}

#[test]
fn every_write_to_the_database_passes_the_place_for_effects() {
    let mut wrong = Vec::new();
    for (path, source) in sources("schema/src") {
        let file = name(&path);
        if file != MECHANISM {
            wrong.extend(writes_around(file, &source));
        }
        // A refused write is counted by whoever was refused, and statuses are written together.
        wrong.extend(
            misnamed(file, &source)
                .into_iter()
                .filter(|told| !told.contains("write_refused") && !told.contains("environment_status_write")),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_request_to_digitalocean_passes_the_place_for_effects() {
    let mut wrong = Vec::new();
    for (path, source) in sources("src/digitalocean/src") {
        let file = name(&path);
        wrong.extend(misnamed(file, &source));
        wrong.extend(requests_around(file, &source, "self.exchange("));
        // Others send too, over channels.
        let sends = if source.contains("reqwest") {
            source.matches(".send()").count()
        } else {
            0
        };
        let allowed = usize::from(file == "client.rs");
        if sends > allowed {
            wrong.push(format!("{file}: sends {sends} times, and only the client's exchange may"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_call_to_an_agent_passes_the_place_for_effects() {
    let (_, source) = sources("src/agent-api/src/client")
        .into_iter()
        .find(|(path, _)| path.ends_with("agent.rs"))
        .unwrap();
    let wrong: Vec<String> = ["send(\"", "json(\""]
        .iter()
        .flat_map(|sending| requests_around("agent.rs", &source, sending))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_goes_around_the_place_is_told() {
    let source = r#"
    pub async fn event_forget(&self) -> Result<(), Error> {
        sqlx::query!("delete from reconcile_events").execute(&self.pool).await?;
        Ok(())
    }
    pub async fn event_move(&self) -> Result<(), Error> {
        let mut transaction = self.pool.begin().await?;
        Ok(())
    }
    pub async fn event_mend(&self) -> Result<(), Error> {
        let mut transaction = self.pool.begin_with("begin isolation level serializable").await?;
        Ok(())
    }
    pub async fn event_drop(&self) -> Result<(), Error> {
        let mut connection = self.pool.acquire().await?;
        sqlx::query!("delete from reconcile_events").execute(&mut *connection).await?;
        Ok(())
    }
    pub async fn event_count(&self) -> Result<i64, Error> {
        Ok(sqlx::query_scalar!("select count(*) from reconcile_events").fetch_one(&self.pool).await?)
    }
    pub async fn event_record(&self) -> Result<(), Error> {
        let statement = sqlx::query!("insert into reconcile_events default values").execute(&self.pool);
        self.write("event_recorded", statement).await?;
        self.exchange("GET").await
    }
    "#;
    let told = [
        writes_around("events.rs", source),
        misnamed("events.rs", source),
        requests_around("events.rs", source, "self.exchange("),
    ];
    let expected = [
        "events.rs: event_forget writes, and not by self.write(..)",
        "events.rs: event_mend begins a transaction, and not by self.begin(..)",
        "events.rs: event_move begins a transaction, and not by self.begin(..)",
        "events.rs: event_drop writes over a connection of its own",
        "events.rs: event_record has an effect that is called event_recorded",
        "events.rs: event_record sends, and not by effects.run(..)",
    ];
    assert_eq!(told.concat(), expected);
}
