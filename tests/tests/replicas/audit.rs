//! What the database itself saw of leases: kept by triggers that know nothing of how controllers prove theirs.
//!
//! Every process has a login of its own, and what it acquires is written down with that. When a transaction of a process commits that
//! touched a row which only the holder of a shard may write, the last thing that happens in it is a look at the lease, under a lock
//! that no takeover passes: if somebody else's process has acquired the shard since, or nobody holds it, then a stale write was
//! accepted, and is written down for good. How the process proved its lease, or whether it did at all, plays no part in it.

use e2e::sql::Sql;
use std::time::Duration;

const TRIGGERS: &str = r"
create schema audit;
create table audit.tenures (
    shard smallint, epoch bigint, holder uuid, login text, expired_at timestamptz, at timestamptz, primary key (shard, epoch)
);
create table audit.ticks (login text, at timestamptz);
create table audit.gate (one boolean default true);
create table audit.writes (login text, what text, shard integer, stale boolean, owner text, at timestamptz);

create function audit.note_tenure() returns trigger language plpgsql security definer as $$
begin
    insert into audit.tenures values (new.shard, new.epoch, new.holder, session_user, old.expires_at, clock_timestamp());
    return null;
end $$;
create trigger audit after update on leases for each row when (new.epoch > old.epoch) execute function audit.note_tenure();

create function audit.note_tick() returns trigger language plpgsql security definer as $$
begin
    insert into audit.ticks values (session_user, clock_timestamp());
    return null;
end $$;
create trigger audit after insert or update on replicas for each row execute function audit.note_tick();

create function audit.note_write() returns trigger language plpgsql security definer as $$
declare
    touched jsonb := case tg_op when 'DELETE' then to_jsonb(old) else to_jsonb(new) end;
    of_shard integer := case when tg_nargs > 0 then get_byte(uuid_send((touched ->> tg_argv[0])::uuid), 15) % 64 else 0 end;
    lease record;
    owner text;
begin
    -- What users, and the test itself, write needs no lease.
    if session_user not like 'replica\_%' then
        return null;
    end if;
    select holder, epoch into lease from leases where shard = of_shard for key share;
    select login into owner from audit.tenures where shard = of_shard and epoch = lease.epoch and holder = lease.holder;
    insert into audit.writes
    values (session_user, tg_table_name, of_shard, owner is distinct from session_user::text, owner, clock_timestamp());
    return null;
end $$;
";

/// The tables that only the holder of a row's shard writes, and the column that tells the shard; the fleet is the first shard's.
const TABLES: [(&str, &str); 8] = [
    ("account_tool_environments", "'id'"),
    ("account_tool_instances", "'account_tool_environment_id'"),
    ("provisioning_intents", "'environment_id'"),
    ("environment_tombstones", "'environment_id'"),
    ("environment_firewalls", "'environment_id'"),
    ("desired_sets", "'environment_id'"),
    ("fleet_resources", ""),
    ("fleet_sweeps", ""),
];

/// Installs the triggers, and sees that they tell a stale write.
pub(crate) async fn install(sql: &Sql) {
    sql.must(TRIGGERS).await;
    for (table, column) in TABLES {
        sql.must(&format!(
            "create constraint trigger audit after insert or update or delete on {table} deferrable initially deferred
            for each row execute function audit.note_write({column})"
        ))
        .await;
    }
    // A write without any lease, as a process would send it that has forgotten to prove one.
    login(sql, "replica_liar").await;
    sql.must(
        "set session authorization replica_liar; set role toolplane_controller;
        update account_tool_environments set error_message = 'by whom?'
        where id = (select id from account_tool_environments limit 1)",
    )
    .await;
    let caught = sql.must("select count(*) from audit.writes where stale").await;
    assert_eq!(caught, "1", "the audit tells a stale write");
    sql.must("update account_tool_environments set error_message = null; truncate audit.writes")
        .await;
}

/// A login that `toolplane serve` can work as.
pub(crate) async fn login(sql: &Sql, name: &str) {
    sql.must(&format!("create role {name} superuser login password '{name}'"))
        .await;
}

/// Stale writes that were accepted, each with who wrote and whose shard it was.
pub(crate) async fn stale_writes(sql: &Sql) -> String {
    sql.must("select * from audit.writes where stale").await
}

/// How many writes were judged.
pub(crate) async fn writes(sql: &Sql) -> u64 {
    sql.must("select count(*) from audit.writes").await.parse().expect("a number")
}

/// How many stale writes were refused.
pub(crate) async fn refused_writes(sql: &Sql) -> u64 {
    sql.must("select sum(refused_writes) from leases")
        .await
        .parse()
        .expect("a number")
}

/// What time it is by the database's clock.
pub(crate) async fn now(sql: &Sql) -> String {
    sql.must("select clock_timestamp()").await
}

/// What became of the shards that a process held when it was killed.
pub(crate) struct Failover {
    /// How many somebody else has taken since.
    pub(crate) taken: u64,
    /// The most renewals that any taker let pass between a lease's end and taking it.
    pub(crate) missed: u64,
    /// From the kill until the last of them was taken.
    pub(crate) taken_after: Duration,
    /// How many of them have environments, and how many of these were worked on by their new owner.
    pub(crate) inhabited: u64,
    pub(crate) worked: u64,
    /// From the kill until the last of them was first written to by its new owner.
    pub(crate) worked_after: Duration,
}

/// Judged by the database's clock.
pub(crate) async fn failover(sql: &Sql, login: &str, killed: &str) -> Failover {
    let found = sql
        .must(&format!(
            "with lost as (
                select taken.*, (
                    select count(*) from audit.ticks as tick
                    -- The renewal that took it was noted in the same moment as that it did.
                    where tick.login = taken.login and tick.at > taken.expired_at
                        and tick.at < taken.at - interval '200 ms'
                ) as missed, (
                    select min(write.at) from audit.writes as write
                    where write.shard = taken.shard and write.login = taken.login and write.at > taken.at
                        and write.what = 'account_tool_environments'
                ) as worked, exists (
                    select from account_tool_environments where get_byte(uuid_send(id), 15) % 64 = taken.shard
                ) as inhabited
                from audit.tenures as held
                join audit.tenures as taken on taken.shard = held.shard and taken.epoch = held.epoch + 1
                where held.login = '{login}' and taken.login <> held.login and taken.at > '{killed}'
            )
            select count(*), coalesce(max(missed), 0), coalesce(extract(epoch from max(at) - '{killed}'), 0),
                count(*) filter (where inhabited), count(*) filter (where inhabited and worked is not null),
                coalesce(extract(epoch from max(worked) - '{killed}'), 0)
            from lost"
        ))
        .await;
    let columns: Vec<f64> = found.split('|').map(|text| text.parse().expect("a number")).collect();
    let [taken, missed, taken_after, inhabited, worked, worked_after] = columns[..] else {
        panic!("six columns: {found}");
    };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // counts of at most 64 shards
    let count = |number: f64| number as u64;
    Failover {
        taken: count(taken),
        missed: count(missed),
        taken_after: Duration::from_secs_f64(taken_after),
        inhabited: count(inhabited),
        worked: count(worked),
        worked_after: Duration::from_secs_f64(worked_after),
    }
}
