//! `provisioning_intents`: what is about to be done to DigitalOcean, committed before it is sent, and who enrolled with it.

use crate::{
    Database, Error, Fence,
    codec::{Spelled, Time, bigint, droplet_id},
};
use jiff::{SignedDuration, Timestamp};
use model::{DropletId, Environment, EnvironmentId, Intent, IntentId, IntentKind, IntentOutcome};
use std::{net::IpAddr, time::Duration};

/// What an enrolling agent is judged by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnrolmentRow {
    /// Whose droplet it is.
    pub environment_id: EnvironmentId,
    /// The epoch of the tokens that it gets.
    pub epoch: i64,
    /// The droplet that the intent made, as far as it is known.
    pub droplet_id: Option<DropletId>,
    /// The address of that droplet, once the environment records it as its own.
    pub ip_address: Option<IpAddr>,
    /// Until when a first enrolment is taken.
    pub enrolment_expires_at: Timestamp,
    /// SHA-256 of the public key that enrolled, in hex.
    pub enrolled_key: Option<String>,
}

/// How far the latest intent is, by the database's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntentStanding {
    /// Which one that is.
    pub intent: IntentId,
    /// How long ago it was announced.
    pub age: SignedDuration,
    /// For how long a first enrolment is still taken; not positive once it is not.
    pub enrolment_left: SignedDuration,
    /// How many droplets in a row, its own the last, have had no agent that enrolled.
    pub unenrolled: u32,
}

/// What became of an enrolment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Enrolled {
    /// The key is now the one.
    First,
    /// The same key again: a lost answer, or a restart.
    Again,
    /// Another key has enrolled before. Somebody has the token who should not.
    OtherKey,
    /// Too late for a first enrolment; or the intent has been superseded, resolved as failed, or never was.
    Expired,
}

impl Database {
    /// Announces a create: raises the environment's `agent_epoch` and commits an open intent with it.
    ///
    /// `row` is the one that was decided by, and has to be current still: [`Error::Stale`] when its specification, its epoch or
    /// its droplet is another one by now, when it says `deleted`, and when it is gone. The droplet that it records is not its
    /// own any more after this: what is recorded was seen after the latest announcement.
    ///
    /// The intent that is returned was never announced before, so its effect was never sent. While one is open there is no
    /// other ([`Error::IntentOpen`]), whoever asks, also after a crash or when the answer to this call was lost: the next pass
    /// finds the open intent and looks for its droplet.
    pub async fn intent_announce(
        &self,
        fence: &Fence,
        row: &Environment,
        kind: IntentKind,
        enrolment_ttl: Duration,
    ) -> Result<Intent, Error> {
        let id = row.id;
        fence.covers(id)?;
        let mut transaction = self.fenced("intent_announce", fence).await?;
        // Locks the row, and so comes before or after its deletion, whose trigger looks for intents; and before or after
        // another announcement. Epochs never repeat, not even for an id that is used again.
        let epoch = sqlx::query_scalar!(
            r#"update account_tool_environments
            set do_droplet_id = null, ip_address = null, do_created_at = null, agent_epoch = greatest(
                agent_epoch, (select coalesce(max(epoch), 0) from provisioning_intents where environment_id = $1)
            ) + 1
            where id = $1 and desired_state = 'active' and generation = $2 and agent_epoch = $3
                and do_droplet_id is not distinct from $4
            returning agent_epoch"#,
            id.0,
            row.generation,
            row.status.agent_epoch,
            row.status.droplet_id.map(bigint),
        )
        .fetch_optional(&mut *transaction)
        .await?
        .ok_or(Error::Stale(id))?;
        sqlx::query!(
            "update provisioning_intents set superseded = true
            where environment_id = $1 and not superseded and resolved_at is not null",
            id.0,
        )
        .execute(&mut *transaction)
        .await?;
        let announced = sqlx::query!(
            r#"insert into provisioning_intents (environment_id, kind, epoch, enrolment_expires_at)
            values ($1, $2::text::intent_kind_enum, $3, clock_timestamp() + make_interval(secs => $4))
            on conflict do nothing
            returning id, announced_at as "announced_at: Time", enrolment_expires_at as "enrolment_expires_at: Time""#,
            id.0,
            Spelled(kind) as _,
            epoch,
            enrolment_ttl.as_secs_f64(),
        )
        .fetch_optional(&mut *transaction)
        .await?
        .ok_or(Error::IntentOpen(id))?;
        transaction.commit().await?;
        Ok(Intent {
            id: announced.id.into(),
            environment_id: id,
            kind,
            epoch,
            announced_at: announced.announced_at.to_jiff(),
            droplet_id: None,
            enrolment_expires_at: announced.enrolment_expires_at.to_jiff(),
            enrolled_key: None,
            outcome: None,
        })
    }

    /// Records the droplet that the answer named. The intent stays open until the droplet was observed.
    pub async fn intent_droplet(&self, fence: &Fence, id: IntentId, droplet: DropletId) -> Result<(), Error> {
        let mut transaction = self.fenced("intent_droplet", fence).await?;
        let recorded = sqlx::query!(
            "update provisioning_intents set do_droplet_id = $2
            where id = $1 and resolved_at is null and get_byte(uuid_send(environment_id), 15) % 64 = $3",
            id.0,
            bigint(droplet),
            i32::from(fence.sql_shard()),
        )
        .execute(&mut *transaction)
        .await?;
        if recorded.rows_affected() == 0 {
            return Err(Error::NoIntent(id));
        }
        Ok(transaction.commit().await?)
    }

    /// Ends an intent. Ending it again in the same way does nothing.
    pub async fn intent_resolve(&self, fence: &Fence, id: IntentId, outcome: IntentOutcome) -> Result<(), Error> {
        let mut transaction = self.fenced("intent_resolve", fence).await?;
        let resolved = sqlx::query!(
            "update provisioning_intents
            set outcome = $2::text::intent_outcome_enum, resolved_at = coalesce(resolved_at, clock_timestamp())
            where id = $1 and get_byte(uuid_send(environment_id), 15) % 64 = $3
                and (resolved_at is null or outcome = $2::text::intent_outcome_enum)",
            id.0,
            Spelled(outcome) as _,
            i32::from(fence.sql_shard()),
        )
        .execute(&mut *transaction)
        .await?;
        if resolved.rows_affected() == 0 {
            return Err(Error::NoIntent(id));
        }
        Ok(transaction.commit().await?)
    }

    /// The environment's intents, oldest first.
    pub async fn intent_list(&self, id: EnvironmentId) -> Result<Vec<Intent>, Error> {
        let rows = sqlx::query!(
            r#"select id, kind as "kind: Spelled<IntentKind>", epoch, announced_at as "announced_at: Time", do_droplet_id,
                enrolment_expires_at as "enrolment_expires_at: Time", enrolled_key, outcome as "outcome: Spelled<IntentOutcome>"
            from provisioning_intents
            where environment_id = $1
            order by epoch"#,
            id.0,
        )
        .fetch_all(&self.pool)
        .await?;
        let intents = rows.into_iter().map(|row| Intent {
            id: row.id.into(),
            environment_id: id,
            kind: row.kind.0,
            epoch: row.epoch,
            announced_at: row.announced_at.to_jiff(),
            droplet_id: row.do_droplet_id.map(droplet_id),
            enrolment_expires_at: row.enrolment_expires_at.to_jiff(),
            enrolled_key: row.enrolled_key,
            outcome: row.outcome.map(|outcome| outcome.0),
        });
        Ok(intents.collect())
    }

    /// How far the environment's latest intent is; `None` when it never had one. Ages are told and not times, so that they can
    /// be compared with a clock that disagrees with the database's.
    pub async fn intent_standing(&self, id: EnvironmentId) -> Result<Option<IntentStanding>, Error> {
        let row = sqlx::query!(
            r#"select intent.id,
                extract(epoch from clock_timestamp() - intent.announced_at)::float8 as "age!",
                extract(epoch from intent.enrolment_expires_at - clock_timestamp())::float8 as "enrolment_left!",
                (
                    select count(*)
                    from provisioning_intents as earlier
                    where earlier.environment_id = $1 and earlier.do_droplet_id is not null and earlier.epoch > coalesce((
                        select max(enrolled.epoch)
                        from provisioning_intents as enrolled
                        where enrolled.environment_id = $1 and enrolled.enrolled_key is not null
                    ), 0)
                ) as "unenrolled!"
            from provisioning_intents as intent
            where intent.environment_id = $1 and not intent.superseded"#,
            id.0,
        )
        .fetch_optional(&self.pool)
        .await?;
        let seconds = |seconds| SignedDuration::try_from_secs_f64(seconds).unwrap_or(SignedDuration::ZERO);
        Ok(row.map(|row| IntentStanding {
            intent: row.id.into(),
            age: seconds(row.age),
            enrolment_left: seconds(row.enrolment_left),
            unenrolled: u32::try_from(row.unenrolled).unwrap_or(u32::MAX),
        }))
    }

    /// What an enrolling agent is judged by; `None` for an intent that there is not.
    pub async fn intent_for_enrolment(&self, id: IntentId) -> Result<Option<EnrolmentRow>, Error> {
        let row = sqlx::query!(
            r#"select intent.environment_id, intent.epoch, intent.do_droplet_id as "droplet?",
                case when environment.agent_epoch = intent.epoch and environment.do_droplet_id = intent.do_droplet_id
                    then environment.ip_address end as "ip_address: IpAddr",
                intent.enrolment_expires_at as "enrolment_expires_at: Time", intent.enrolled_key
            from provisioning_intents as intent
            left join account_tool_environments as environment on environment.id = intent.environment_id
            where intent.id = $1"#,
            id.0,
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|row| EnrolmentRow {
            environment_id: row.environment_id.into(),
            epoch: row.epoch,
            droplet_id: row.droplet.map(droplet_id),
            ip_address: row.ip_address,
            enrolment_expires_at: row.enrolment_expires_at.to_jiff(),
            enrolled_key: row.enrolled_key,
        }))
    }

    /// Binds a key (SHA-256 of the public key, in hex) to an intent, once. One statement: of any number of callers with
    /// different keys one is [`Enrolled::First`].
    pub async fn intent_enrol(&self, id: IntentId, key_sha256: &str) -> Result<Enrolled, Error> {
        let statement = sqlx::query_scalar!(
            r#"update provisioning_intents set enrolled_key = $2, enrolled_at = clock_timestamp()
            where id = $1 and enrolled_key is null and not superseded and enrolment_expires_at > clock_timestamp()
                and (outcome is null or outcome = 'adopted')
            returning true as "first!""#,
            id.0,
            key_sha256,
        )
        .fetch_optional(&self.pool);
        let first = self.write("intent_enrol", statement).await?;
        if first.is_some() {
            return Ok(Enrolled::First);
        }
        let enrolled = sqlx::query!(
            "select enrolled_key, superseded from provisioning_intents where id = $1",
            id.0
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(match enrolled {
            Some(row) if row.superseded => Enrolled::Expired,
            Some(row) => match row.enrolled_key {
                Some(key) if key == key_sha256 => Enrolled::Again,
                Some(_) => Enrolled::OtherKey,
                None => Enrolled::Expired,
            },
            None => Enrolled::Expired,
        })
    }
}
