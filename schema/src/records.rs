//! [`EnvironmentRecord`]s: everything known of an environment in one value, read in one statement.
//!
//! 100,000 of them are held in memory by each replica, so reading them is made cheap: one streaming read of a view, typed columns
//! rather than JSON for what every row has, slugs shared, and no allocation for tools where there are none.

use crate::{
    Database, Error,
    codec::{Slug, Spelled, Time, droplet_id},
};
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use jiff::Timestamp;
use model::{
    AgentReport, ConditionStatus, Conditions, DesiredInstance, DesiredSet, DropletVitals, Environment, EnvironmentId,
    EnvironmentRecord, EnvironmentSpec, EnvironmentStatus, Instance, InstanceReport, Intent, ReceivedReport, RecordedFirewall,
    Stamp, Subject, Tombstone, Tools, UserId,
};
use sqlx::{
    postgres::PgExecutor,
    types::{Json, Uuid},
};
use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

/// A row of `toolplane.environment_records`. Columns of the row itself are null for a tombstone.
struct Row {
    id: EnvironmentId,
    deleted_at: Option<Time>,
    user_id: UserId,
    do_droplet_id: Option<i64>,
    ip_address: Option<IpAddr>,
    agent_epoch: i64,
    status: Option<Spelled<model::environment::EnvironmentPhase>>,
    region_slug: Option<Slug>,
    size_slug: Option<Slug>,
    image_slug: Option<Slug>,
    desired_state: Option<Spelled<model::EnvironmentDesiredState>>,
    paused: Option<bool>,
    generation: Option<i64>,
    observed_generation: Option<i64>,
    do_created_at: Option<Time>,
    last_heartbeat_at: Option<Time>,
    error_message: Option<String>,
    conditions: Option<Json<Conditions>>,
    observed_at: Option<Time>,
    created_at: Option<Time>,
    updated_at: Option<Time>,
    intent_id: Option<Uuid>,
    intent_kind: Option<Spelled<model::IntentKind>>,
    intent_epoch: Option<i64>,
    intent_announced_at: Option<Time>,
    intent_do_droplet_id: Option<i64>,
    intent_enrolment_expires_at: Option<Time>,
    intent_enrolled_key: Option<String>,
    intent_outcome: Option<Spelled<model::IntentOutcome>>,
    desired_epoch: Option<i64>,
    desired_generation: Option<i64>,
    desired_instances: Option<Json<Vec<DesiredInstance>>>,
    report_epoch: Option<i64>,
    report_boot_id: Option<Uuid>,
    report_sequence: Option<i64>,
    report_applied_epoch: Option<i64>,
    report_applied_generation: Option<i64>,
    report_agent_version: Option<String>,
    report_vitals: Option<Json<DropletVitals>>,
    report_instances: Option<Json<Vec<InstanceReport>>>,
    report_received_at: Option<Time>,
    firewall_id: Option<String>,
    firewall_announced_at: Option<Time>,
    firewall_epoch: Option<i64>,
    firewall_ports: Option<Vec<i32>>,
    firewall_closing: Option<Json<BTreeMap<u16, Timestamp>>>,
    firewall_state: Option<Spelled<ConditionStatus>>,
    firewall_reason: Option<String>,
    firewall_message: Option<String>,
    instances: Option<Json<Vec<Instance>>>,
}

/// The one list of columns, with the condition that a query adds.
macro_rules! records_where {
    ($condition:literal, $($argument:expr),*) => {
        sqlx::query_as!(
            Row,
            r#"select id as "id!", deleted_at as "deleted_at: Time", user_id as "user_id!", do_droplet_id,
                ip_address as "ip_address: IpAddr", agent_epoch as "agent_epoch!", status as "status: Spelled<_>",
                region_slug as "region_slug: Slug", size_slug as "size_slug: Slug", image_slug as "image_slug: Slug",
                desired_state as "desired_state: Spelled<_>", paused, generation, observed_generation,
                do_created_at as "do_created_at: Time", last_heartbeat_at as "last_heartbeat_at: Time", error_message,
                conditions as "conditions: Json<Conditions>", observed_at as "observed_at: Time",
                created_at as "created_at: Time", updated_at as "updated_at: Time", intent_id,
                intent_kind as "intent_kind: Spelled<_>", intent_epoch, intent_announced_at as "intent_announced_at: Time",
                intent_do_droplet_id, intent_enrolment_expires_at as "intent_enrolment_expires_at: Time", intent_enrolled_key,
                intent_outcome as "intent_outcome: Spelled<_>", desired_epoch, desired_generation,
                desired_instances as "desired_instances: Json<Vec<DesiredInstance>>", report_epoch, report_boot_id,
                report_sequence, report_applied_epoch, report_applied_generation, report_agent_version,
                report_vitals as "report_vitals: Json<DropletVitals>",
                report_instances as "report_instances: Json<Vec<InstanceReport>>",
                report_received_at as "report_received_at: Time", firewall_id,
                firewall_announced_at as "firewall_announced_at: Time", firewall_epoch, firewall_ports,
                firewall_closing as "firewall_closing: Json<BTreeMap<u16, Timestamp>>",
                firewall_state as "firewall_state: Spelled<_>", firewall_reason, firewall_message, instances as "instances: Json<Vec<Instance>>"
            from toolplane.environment_records
            "# + $condition,
            $($argument),*
        )
    };
}

impl Database {
    /// One record.
    pub async fn record_get(&self, id: EnvironmentId) -> Result<Option<EnvironmentRecord>, Error> {
        record_read(&self.pool, id).await
    }

    /// These records, in this order; `None` for one that is not there.
    pub async fn record_fetch(&self, ids: &[EnvironmentId]) -> Result<Vec<(EnvironmentId, Option<EnvironmentRecord>)>, Error> {
        // Mostly it is one. For one, Postgres keeps its plan; for an array it plans anew each time, which takes longer than reading.
        if let [id] = ids {
            return Ok(vec![(*id, self.record_get(*id).await?)]);
        }
        let keys: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        let mut found: HashMap<EnvironmentId, EnvironmentRecord> = records_where!("where id = any ($1)", &keys)
            .fetch(&self.pool)
            .map(|row| row?.record().map(|record| (record.id(), record)))
            .try_collect()
            .await?;
        Ok(ids.iter().map(|id| (*id, found.remove(id))).collect())
    }

    /// Every record of these shards, as of one moment, in no order: sorting would keep the first back until the last is read.
    pub fn record_list(&self, shards: &[u16]) -> BoxStream<'_, Result<EnvironmentRecord, Error>> {
        if shards.is_empty() {
            return stream::empty().boxed();
        }
        // Telling the shards of all rows apart is a third of the work of reading them, and of no use to whoever holds all.
        let some = (shards.len() < usize::from(model::ids::SHARDS)).then_some(shards);
        let some: Option<Vec<i16>> = some.map(|some| some.iter().filter_map(|shard| i16::try_from(*shard).ok()).collect());
        records_where!(
            "where $1::smallint[] is null or shard = any ($1)",
            some.as_deref() as Option<&[i16]>
        )
        .fetch(&self.pool)
        .map(|row| row?.record())
        .boxed()
    }
}

/// One record, over a connection.
pub(crate) async fn record_read(connection: impl PgExecutor<'_>, id: EnvironmentId) -> Result<Option<EnvironmentRecord>, Error> {
    let row = records_where!("where id = $1", id.0).fetch_optional(connection).await?;
    row.map(Row::record).transpose()
}

impl Row {
    fn record(mut self) -> Result<EnvironmentRecord, Error> {
        let id = self.id;
        let intent = self.intent();
        let tools = self.tools();
        let firewall = self.firewall();
        let subject = self.subject().ok_or_else(|| Error::Row {
            row: format!("environment {id}"),
            source: "neither a row nor a tombstone".into(),
        })?;
        Ok(EnvironmentRecord {
            subject,
            intent: intent.map(Box::new),
            tools: tools.map(Box::new),
            firewall: firewall.map(Box::new),
        })
    }

    fn subject(self) -> Option<Subject> {
        let droplet_id = self.do_droplet_id.map(droplet_id);
        if let Some(deleted_at) = self.deleted_at {
            return Some(Subject::Tombstone(Tombstone {
                environment_id: self.id,
                user_id: self.user_id,
                droplet_id,
                ip_address: self.ip_address,
                agent_epoch: self.agent_epoch,
                deleted_at: deleted_at.to_jiff(),
            }));
        }
        let mut conditions = self.conditions?.0;
        conditions.0.shrink_to_fit();
        Some(Subject::Row(Environment {
            id: self.id,
            generation: self.generation?,
            spec: EnvironmentSpec {
                user_id: self.user_id,
                region: self.region_slug?.0,
                size: self.size_slug?.0,
                image: self.image_slug?.0,
                desired_state: self.desired_state?.0,
                paused: self.paused?,
            },
            status: EnvironmentStatus {
                phase: self.status?.0,
                droplet_id,
                ip_address: self.ip_address,
                droplet_created_at: self.do_created_at.map(timestamp),
                agent_epoch: self.agent_epoch,
                error_message: self.error_message,
                observed_generation: self.observed_generation?,
                conditions,
                observed_at: self.observed_at.map(timestamp),
            },
            last_heartbeat_at: self.last_heartbeat_at.map(timestamp),
            created_at: self.created_at?.to_jiff(),
            updated_at: self.updated_at?.to_jiff(),
        }))
    }

    fn intent(&mut self) -> Option<Intent> {
        Some(Intent {
            id: self.intent_id?.into(),
            environment_id: self.id,
            kind: self.intent_kind?.0,
            epoch: self.intent_epoch?,
            announced_at: self.intent_announced_at?.to_jiff(),
            droplet_id: self.intent_do_droplet_id.map(droplet_id),
            enrolment_expires_at: self.intent_enrolment_expires_at?.to_jiff(),
            enrolled_key: self.intent_enrolled_key.take(),
            outcome: self.intent_outcome.map(|outcome| outcome.0),
        })
    }

    fn tools(&mut self) -> Option<Tools> {
        let instances = self.instances.take().map(|Json(instances)| instances);
        let (desired, report) = (self.desired(), self.report());
        if instances.is_none() && desired.is_none() && report.is_none() {
            return None;
        }
        Some(Tools {
            instances: instances.unwrap_or_default(),
            desired,
            report,
        })
    }

    fn firewall(&mut self) -> Option<RecordedFirewall> {
        let ports = self.firewall_ports.take()?;
        Some(RecordedFirewall {
            id: self.firewall_id.take(),
            announced_at: self.firewall_announced_at?.to_jiff(),
            epoch: self.firewall_epoch?,
            ports: ports.into_iter().filter_map(|port| u16::try_from(port).ok()).collect(),
            closing: self.firewall_closing.take()?.0,
            state: self.firewall_state?.0,
            reason: self.firewall_reason.take()?.as_str().into(),
            message: self.firewall_message.take()?,
        })
    }

    fn desired(&mut self) -> Option<DesiredSet> {
        Some(DesiredSet {
            environment_id: self.id,
            stamp: Stamp {
                epoch: self.desired_epoch?,
                generation: self.desired_generation?,
            },
            instances: self.desired_instances.take()?.0,
        })
    }

    fn report(&mut self) -> Option<ReceivedReport> {
        Some(ReceivedReport {
            epoch: self.report_epoch?,
            report: AgentReport {
                boot_id: self.report_boot_id?,
                sequence: self.report_sequence?,
                applied: self
                    .report_applied_epoch
                    .zip(self.report_applied_generation)
                    .map(|(epoch, generation)| Stamp { epoch, generation }),
                agent_version: self.report_agent_version.take()?.as_str().into(),
                vitals: self.report_vitals.take()?.0,
                instances: self.report_instances.take()?.0,
                received_at: self.report_received_at?.to_jiff(),
            },
        })
    }
}

fn timestamp(time: Time) -> Timestamp {
    time.to_jiff()
}
