//! The story: an account is written down, by a manifest and by SQL, its tools run, each is called, one is killed and comes back.

use super::{
    parts::Parts,
    progress::{Progress, Step, note},
    rows::{self, Account},
};
use crate::{
    cli::{Output, ReportOutput},
    commands::{apply, events, get},
    manifests::{self, Object, Source},
};
use jiff::Timestamp;
use miette::{IntoDiagnostic, WrapErr};
use model::{EnvironmentId, Instance, UserId};
use schema::{ConnectOptions, Database};
use std::time::{Duration, Instant};
use workbench::mcp::{self, Endpoint};

/// The same file that people read and apply.
const MANIFEST: &str = include_str!("../../../../../manifests/example-account.yaml");

const FIRST_THOUGHT: &str = "What is the simplest thing that could possibly work?";
const LAST_THOUGHT: &str = "Still here after a SIGKILL.";

/// Bounds a hang; all of it takes well under a minute.
const PATIENCE: Duration = Duration::from_mins(4);
/// As many events as there may be by then.
const EVENTS: usize = 100;
/// How often rows are read while something is waited for.
const PERIOD: Duration = Duration::from_millis(200);

pub(super) async fn tell(parts: &mut Parts, progress: &Progress) -> miette::Result<Account> {
    let id = write_account(parts, progress).await?;
    parts.watch_over(id)?;
    insert_row(parts, progress, id).await?;
    let step = progress.step("from row to running tools");
    let account = wait(parts, &step, id, "the account to run", Account::waits_for).await?;
    step.done(&format!(
        "droplet {} at {}",
        shown(account.environment.status.droplet_id),
        shown(account.environment.status.ip_address)
    ));
    note(&tables(parts, &account).await?);
    for instance in &account.instances {
        let step = progress.step(&format!("MCP call to {}", rows::name(instance)));
        let answer = think(parts, &account, instance, FIRST_THOUGHT).await?;
        step.done("answered over TLS, with a token");
        note(&exchange(FIRST_THOUGHT, &answer));
    }
    let account = kill_one(parts, progress, account).await?;
    note(&tables(parts, &account).await?);
    let step = progress.step("what was done, and why");
    let events = latest_events(parts, id).await?;
    step.done("`toolplane events environment`");
    note(&format!("\n{events}\n"));
    Ok(account)
}

/// The user by SQL, as Supabase's sign-up would make it; catalog, environment and first tool by the manifest.
async fn write_account(parts: &Parts, progress: &Progress) -> miette::Result<EnvironmentId> {
    let step = progress.step("example account");
    let registry = parts.registry_address()?.to_string();
    let source = Source::new("manifests/example-account.yaml", MANIFEST).substituted([("REGISTRY", registry.as_str())]);
    let parsed = manifests::parse(&[source])?;
    let user = parsed.iter().find_map(|manifest| match &manifest.object {
        Object::Environment(spec) => Some(spec.user_id()),
        Object::CatalogEntry(_) | Object::Instance(_) => None,
    });
    let user = user.ok_or_else(|| miette::miette!("the example account has no environment"))?;
    let url = std::fs::read_to_string(parts.database_file()).into_diagnostic()?;
    let owner = Database::connect(&ConnectOptions::new(url.into(), None))
        .await
        .into_diagnostic()?;
    owner
        .user_ensure(user)
        .await
        .into_diagnostic()
        .wrap_err("cannot insert the example user")?;
    owner.close().await;
    let database = parts.database()?;
    let written = apply::write(database, &parsed, false).await?;
    let titles: Vec<&str> = written.iter().map(|(title, _)| title.as_str()).collect();
    step.done(&titles.join(", "));
    environment_of(database, user).await
}

/// The second tool by SQL, as any program would: word for word what is shown.
async fn insert_row(parts: &Parts, progress: &Progress, environment: EnvironmentId) -> miette::Result<()> {
    let step = progress.step("a row by SQL");
    let statement = format!(
        "\
insert into account_tool_instances (account_tool_environment_id, tool_catalog_id, instance_name, version_to_run)
select '{environment}', id, 'reasoning-previous', '1.0.0' from tool_catalog where tool_name = 'Reasoning MCP Server'"
    );
    let answer = parts.sql(&statement).await?;
    step.done(&format!("psql answers {answer}"));
    note(&format!("       {}", statement.replace('\n', "\n       ")));
    Ok(())
}

async fn environment_of(database: &Database, user: UserId) -> miette::Result<EnvironmentId> {
    let environments = database.environment_list().await.into_diagnostic()?;
    let environment = environments.iter().find(|environment| environment.spec.user_id == user);
    environment
        .map(|environment| environment.id)
        .ok_or_else(|| miette::miette!("the example environment was not written"))
}

/// Reads the rows until `waits_for` has nothing left to name.
async fn wait(
    parts: &mut Parts,
    step: &Step,
    id: EnvironmentId,
    what: &str,
    waits_for: impl Fn(&Account) -> Option<String>,
) -> miette::Result<Account> {
    let began = Instant::now();
    loop {
        parts.check()?;
        let account = Account::read(parts.database()?, id).await?;
        let Some(waiting) = waits_for(&account) else {
            return Ok(account);
        };
        if began.elapsed() > PATIENCE {
            let seconds = PATIENCE.as_secs();
            return Err(miette::miette!(
                help = format!("the control plane's log is {}", parts.folder().log("serve").display()),
                "waited {seconds} seconds for {what}; the last to be waited for was: {waiting}"
            ));
        }
        step.waiting(&waiting);
        tokio::time::sleep(PERIOD).await;
    }
}

/// One thought, as an agent sends it.
async fn think(parts: &Parts, account: &Account, instance: &Instance, thought: &str) -> miette::Result<String> {
    let url = rows::detail(instance, "endpoint").ok_or_else(|| miette::miette!("{} has no endpoint", rows::name(instance)))?;
    let authority = parts.master_key().certificate_authority().into_diagnostic()?;
    let token = parts
        .master_key()
        .tool_token(account.environment.id, account.environment.status.agent_epoch);
    let endpoint = Endpoint {
        url: url.to_owned(),
        authority_pem: authority.certificate_pem().to_owned(),
        token: token.expose().into(),
    };
    let answer = mcp::call_tool(&endpoint, "think", serde_json::json!({"thought": thought}))
        .await
        .into_diagnostic()?;
    match answer.is_error {
        Some(true) => Err(miette::miette!("{url} answered with an error: {}", mcp::text(&answer))),
        Some(false) | None => Ok(mcp::text(&answer)),
    }
}

/// As a client does whose tool was restarted under it: once more when the first connection is not there any more.
async fn think_again(parts: &Parts, account: &Account, instance: &Instance) -> miette::Result<String> {
    match think(parts, account, instance, LAST_THOUGHT).await {
        Ok(answer) => Ok(answer),
        Err(error) => {
            tracing::warn!(%error, "the first call after the restart was not answered");
            tokio::time::sleep(Duration::from_secs(1)).await;
            think(parts, account, instance, LAST_THOUGHT).await
        }
    }
}

/// SIGKILL to one tool's container, from outside, and back by itself.
async fn kill_one(parts: &mut Parts, progress: &Progress, account: Account) -> miette::Result<Account> {
    let victim = account
        .instances
        .first()
        .ok_or_else(|| miette::miette!("there is no tool to kill"))?;
    let (id, name) = (victim.id, rows::name(victim));
    let container = rows::detail(victim, "container_id")
        .ok_or_else(|| miette::miette!("{name} has no container"))?
        .to_owned();
    let restarts = victim.status.runtime_details["restarts"].clone();
    let step = progress.step(&format!("{name} killed"));
    parts
        .engine()?
        .docker(&["kill", "--signal", "KILL", &container])
        .await
        .into_diagnostic()?;
    let account = wait(
        parts,
        &step,
        account.environment.id,
        &format!("{name} to come back"),
        |account| {
            let Some(instance) = account.instance(id) else {
                return Some(format!("{name} is gone"));
            };
            let details = &instance.status.runtime_details;
            let another = details["container_id"].as_str() != Some(&container) || details["restarts"] != restarts;
            if another {
                account.waits_for()
            } else {
                Some(format!("{name}: its agent to notice"))
            }
        },
    )
    .await?;
    let instance = account.instance(id).ok_or_else(|| miette::miette!("{name} is gone"))?;
    let answer = think_again(parts, &account, instance).await?;
    step.done("restarted by its agent, on the same port, and answers again");
    note(&exchange(LAST_THOUGHT, &answer));
    Ok(account)
}

/// What `toolplane get environments` and `toolplane get instances` print.
async fn tables(parts: &Parts, account: &Account) -> miette::Result<String> {
    let catalog = parts.database()?.catalog_list().await.into_diagnostic()?;
    let environments = get::Listing::Environments(vec![account.environment.clone()]);
    let instances = get::Listing::Instances(account.instances.clone(), catalog);
    let now = Timestamp::now();
    let tables = [environments, instances].map(|listing| get::render(&listing, Output::Table, now));
    Ok(format!("\n{}\n", tables.join("\n\n")))
}

/// What `toolplane events environment` prints of the environment itself.
async fn latest_events(parts: &Parts, environment: EnvironmentId) -> miette::Result<String> {
    let about = events::About::Environments(vec![environment]);
    let mut found = events::read(parts.database()?, &about, None, EVENTS).await?;
    found.retain(|event| event.event.instance_id.is_none());
    Ok(events::render(&found, ReportOutput::Table, Timestamp::now(), true))
}

/// What was asked and what was answered.
fn exchange(thought: &str, answer: &str) -> String {
    let answer = answer.replace('\n', "\n          ");
    format!("       -> think {thought:?}\n       <- {answer}")
}

fn shown(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "?".to_owned(), |value| value.to_string())
}
