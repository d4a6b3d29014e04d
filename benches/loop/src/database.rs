//! Our side's rows: a private Postgres with one database for each size.

use crate::fixture::{Row, same};
use anyhow::{Context, Result, ensure};
use cluster::{Cluster, Options};
use schema::{ConnectOptions, Database, Role};
use std::{
    collections::HashMap,
    process::{Output, Stdio},
};
use tokio::{io::AsyncWriteExt, process::Command, sync::OnceCell};
use uuid::Uuid;

/// The sizes that are measured.
pub(crate) const FEW: u32 = 10_000;
/// The larger one.
pub(crate) const MANY: u32 = 100_000;

/// The cluster.
pub(crate) struct Databases {
    cluster: Cluster,
    few: OnceCell<()>,
    many: OnceCell<()>,
}

impl Databases {
    /// Makes the cluster. A database with rows of a size is made when it is first asked for.
    pub(crate) async fn start() -> Result<Self> {
        let options = Options {
            // Reactions are counted from the moment that Postgres itself says a change was committed at.
            settings: vec![("track_commit_timestamp".to_owned(), "on".to_owned())],
            ..Options::default()
        };
        Ok(Self {
            cluster: Cluster::start(options).await?,
            few: OnceCell::new(),
            many: OnceCell::new(),
        })
    }

    /// The address of the database with so many rows.
    pub(crate) async fn url(&self, count: u32) -> Result<String> {
        let filled = if count == MANY { &self.many } else { &self.few };
        filled.get_or_try_init(|| self.fill(count)).await?;
        Ok(self.cluster.url(&name(count)))
    }

    /// The address of a fresh copy of it, to change.
    pub(crate) async fn copy(&self, count: u32, copy: &str) -> Result<String> {
        self.url(count).await?;
        Ok(self.cluster.copy_database(copy, &name(count)).await?)
    }

    async fn fill(&self, count: u32) -> Result<()> {
        let url = self.cluster.create_database(&name(count)).await?;
        let database = connect(&url, None).await?;
        database.migrate().await?;
        database.close().await;
        // As the superuser and without triggers: these rows have a past that nobody may write.
        let mut sql = "set session_replication_role = replica;\n".to_owned();
        let rows: Vec<Row> = (0..count).map(Row::new).collect();
        copy_rows(&mut sql, "auth.users (id)", &rows, |row| row.user.to_string());
        copy_rows(&mut sql, ENVIRONMENTS, &rows, environment);
        copy_rows(&mut sql, INTENTS, &rows, intent);
        copy_rows(&mut sql, REPORTS, &rows, report);
        sql.push_str("vacuum (freeze, analyze);\n");
        psql(&url, &sql).await?;
        Ok(())
    }
}

const ENVIRONMENTS: &str = "public.account_tool_environments (id, user_id, do_droplet_id, ip_address, status, region_slug, \
    size_slug, image_slug, do_created_at, last_heartbeat_at, created_at, updated_at, observed_generation, agent_epoch, \
    conditions, observed_at)";
const INTENTS: &str = "public.provisioning_intents (id, environment_id, epoch, announced_at, do_droplet_id, \
    enrolment_expires_at, enrolled_key, enrolled_at, outcome, resolved_at)";
const REPORTS: &str = "public.agent_reports (environment_id, epoch, boot_id, sequence, applied_epoch, applied_generation, \
    agent_version, vitals, received_at)";

fn name(count: u32) -> String {
    format!("rows_{count}")
}

fn copy_rows(sql: &mut String, table: &str, rows: &[Row], line: impl Fn(&Row) -> String) {
    let lines = rows.iter().map(|row| line(row) + "\n");
    sql.extend([format!("copy {table} from stdin;\n")].into_iter().chain(lines));
    sql.push_str("\\.\n");
}

fn environment(row: &Row) -> String {
    let conditions: Vec<_> = same::CONDITIONS
        .iter()
        .map(|(kind, reason)| {
            serde_json::json!({
                "type": kind, "status": "True", "reason": reason, "message": "", "lastTransitionTime": same::CREATED,
                "observedGeneration": 1,
            })
        })
        .collect();
    let (created, seen) = (same::CREATED, same::SEEN);
    [
        &row.environment.to_string(),
        &row.user.to_string(),
        &row.droplet.to_string(),
        &row.address.to_string(),
        "active",
        same::REGION,
        same::SIZE,
        same::IMAGE,
        created,
        seen,
        created,
        created,
        "1",
        "1",
        &serde_json::Value::from(conditions).to_string(),
        seen,
    ]
    .join("\t")
}

fn intent(row: &Row) -> String {
    let created = same::CREATED;
    [
        &row.intent.to_string(),
        &row.environment.to_string(),
        "1",
        created,
        &row.droplet.to_string(),
        created,
        &row.key(),
        created,
        "adopted",
        created,
    ]
    .join("\t")
}

fn report(row: &Row) -> String {
    let vitals = serde_json::json!(vitals());
    [
        &row.environment.to_string(),
        "1",
        &row.boot.to_string(),
        &row.sequence.to_string(),
        "1",
        "0",
        same::AGENT_VERSION,
        &vitals.to_string(),
        same::SEEN,
    ]
    .join("\t")
}

/// The same in every report.
pub(crate) fn vitals() -> model::DropletVitals {
    model::DropletVitals {
        memory_total: same::MEMORY.0,
        memory_available: same::MEMORY.1,
        disk_total: same::DISK.0,
        disk_available: same::DISK.1,
        load_1m: same::LOAD,
        engine_version: Some(same::ENGINE_VERSION.into()),
    }
}

/// Connects under a role.
pub(crate) async fn connect(url: &str, role: Option<Role>) -> Result<Database> {
    Ok(Database::connect(&ConnectOptions::new(url.to_owned().into(), role)).await?)
}

/// When the report of each environment was last committed, in nanoseconds since 1970, by Postgres's own account.
pub(crate) async fn committed(url: &str) -> Result<HashMap<Uuid, u128>> {
    let sql = "select environment_id, (extract(epoch from pg_xact_commit_timestamp(xmin)) * 1e9)::bigint \
        from public.agent_reports where sequence > 1000000;\n";
    let text = psql(url, sql).await?;
    text.lines()
        .map(|line| {
            let (id, at) = line.split_once('|').context("two columns")?;
            Ok((id.parse()?, at.parse()?))
        })
        .collect()
}

pub(crate) async fn psql(url: &str, sql: &str) -> Result<String> {
    let mut child = Command::new(cluster::installed_in()?.join("psql"))
        .args([
            "--no-psqlrc",
            "--quiet",
            "--no-align",
            "--tuples-only",
            "--set=ON_ERROR_STOP=1",
            url,
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut input = child.stdin.take().context("standard input is piped")?;
    let writing = async move { input.write_all(sql.as_bytes()).await };
    let (written, output) = tokio::join!(writing, child.wait_with_output());
    let Output { status, stdout, stderr } = output?;
    ensure!(status.success(), "psql: {}", String::from_utf8_lossy(&stderr));
    written?;
    Ok(String::from_utf8(stdout)?)
}
