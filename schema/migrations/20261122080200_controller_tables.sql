-- What the control plane keeps for itself. None of these rows hangs on an environment's row by a foreign key: they are needed
-- until the droplet is gone, which is after the row is.

create type public.intent_kind_enum as enum ('create');
comment on type public.intent_kind_enum is 'What was announced.';

create type public.intent_outcome_enum as enum ('adopted', 'refused', 'lost', 'abandoned');
comment on type public.intent_outcome_enum is 'How an intent ended.';

create type public.reconcile_event_type_enum as enum ('Normal', 'Warning');
comment on type public.reconcile_event_type_enum is 'Whether somebody may want to look.';

create table public.provisioning_intents (
    id uuid primary key default gen_random_uuid(),
    environment_id uuid not null,
    kind public.intent_kind_enum not null default 'create',
    epoch bigint not null constraint epoch_is_positive check (epoch > 0),
    announced_at timestamptz not null default clock_timestamp(),
    do_droplet_id bigint constraint do_droplet_id_is_positive check (do_droplet_id > 0),
    enrolment_expires_at timestamptz not null,
    enrolled_key text constraint enrolled_key_is_a_sha256 check (enrolled_key ~ '^[0-9a-f]{64}$'),
    enrolled_at timestamptz,
    outcome public.intent_outcome_enum,
    resolved_at timestamptz,
    superseded boolean not null default false,
    unique (environment_id, epoch),
    constraint resolved_has_an_outcome check ((outcome is null) = (resolved_at is null)),
    constraint enrolled_has_a_time check ((enrolled_key is null) = (enrolled_at is null)),
    constraint superseded_is_resolved check (not superseded or outcome is not null)
);
create unique index provisioning_intents_one_open on public.provisioning_intents (environment_id) where resolved_at is null;
create unique index provisioning_intents_one_latest on public.provisioning_intents (environment_id) where not superseded;

comment on table public.provisioning_intents is 'Effects on DigitalOcean, committed before they are sent. At most one of an environment is open.';
comment on column public.provisioning_intents.id is 'Primary key; also in the droplet''s tags and its enrolment token.';
comment on column public.provisioning_intents.environment_id is 'Whose. No foreign key: the intent outlives the row.';
comment on column public.provisioning_intents.kind is 'What was announced.';
comment on column public.provisioning_intents.epoch is 'The agent_epoch of the droplet to come.';
comment on column public.provisioning_intents.announced_at is 'When it was committed.';
comment on column public.provisioning_intents.do_droplet_id is 'The droplet that the answer named, or that was found by tag.';
comment on column public.provisioning_intents.enrolment_expires_at is 'Until when the droplet''s first enrolment is taken.';
comment on column public.provisioning_intents.enrolled_key is 'SHA-256 of the public key that enrolled, in hex. No other key is let in.';
comment on column public.provisioning_intents.enrolled_at is 'When that key first enrolled.';
comment on column public.provisioning_intents.outcome is 'How it ended; null while it is open.';
comment on column public.provisioning_intents.resolved_at is 'When it ended.';
comment on column public.provisioning_intents.superseded is 'Whether a later intent of the environment exists.';

create table public.environment_tombstones (
    environment_id uuid primary key,
    user_id uuid not null,
    do_droplet_id bigint,
    ip_address inet,
    agent_epoch bigint not null,
    deleted_at timestamptz not null default clock_timestamp()
);
comment on table public.environment_tombstones is 'Deleted environments whose droplet has yet to go. Left by a trigger, removed by the controller.';
comment on column public.environment_tombstones.environment_id is 'The deleted row''s id.';
comment on column public.environment_tombstones.user_id is 'The deleted row''s owner, who may be gone too.';
comment on column public.environment_tombstones.do_droplet_id is 'The droplet that was recorded. Others may carry the environment''s tag.';
comment on column public.environment_tombstones.ip_address is 'Where the agent was reached.';
comment on column public.environment_tombstones.agent_epoch is 'The epoch of the agent''s tokens.';
comment on column public.environment_tombstones.deleted_at is 'When the row was deleted.';

create table public.reconcile_events (
    id bigint generated always as identity primary key,
    environment_id uuid,
    instance_id uuid,
    type public.reconcile_event_type_enum not null,
    reason text not null,
    message text not null,
    actor text not null,
    cause text not null,
    count bigint not null default 1,
    first_seen timestamptz not null default clock_timestamp(),
    last_seen timestamptz not null default clock_timestamp()
);
create index reconcile_events_environment_id_idx on public.reconcile_events (environment_id, last_seen desc);
create index reconcile_events_last_seen_idx on public.reconcile_events (last_seen desc);
comment on table public.reconcile_events is 'What was done and why. The same thing again within an hour raises the count.';
comment on column public.reconcile_events.id is 'Primary key.';
comment on column public.reconcile_events.environment_id is 'What it is about; null for what the installation has once. No foreign key: events outlive the row.';
comment on column public.reconcile_events.instance_id is 'What it is about, more closely.';
comment on column public.reconcile_events.type is 'Normal or Warning.';
comment on column public.reconcile_events.reason is 'One upper-camel-case word: DropletCreated.';
comment on column public.reconcile_events.message is 'A sentence.';
comment on column public.reconcile_events.actor is 'Who: environment-reconciler, instance-reconciler, database, ...';
comment on column public.reconcile_events.cause is 'Why: which column of which generation, or which observation.';
comment on column public.reconcile_events.count is 'How often it was seen.';
comment on column public.reconcile_events.first_seen is 'When it was first seen.';
comment on column public.reconcile_events.last_seen is 'When it was last seen.';

create table public.leases (
    shard smallint primary key constraint shard_exists check (shard between 0 and 63),
    holder uuid,
    holder_name text,
    epoch bigint not null default 0,
    expires_at timestamptz not null default '-infinity'
) with (fillfactor = 50);
insert into public.leases (shard) select generate_series(0, 63);
comment on table public.leases is 'Which replica works on which shard. Judged by the database''s clock alone.';
comment on column public.leases.shard is 'The last byte of an environment''s id modulo 64.';
comment on column public.leases.holder is 'The replica, by an id that it makes anew at each start; null when the shard was given back.';
comment on column public.leases.holder_name is 'The replica, for people: host and process.';
comment on column public.leases.epoch is 'Rises with each change of the holder. Every controller write carries it.';
comment on column public.leases.expires_at is 'Until when the lease holds if it is not renewed.';

create table public.agent_reports (
    environment_id uuid primary key,
    epoch bigint not null,
    boot_id uuid not null,
    earlier_boots uuid[] not null default '{}',
    sequence bigint not null,
    applied_epoch bigint,
    applied_generation bigint,
    agent_version text not null,
    vitals json not null constraint vitals_is_an_object check (json_typeof(vitals) = 'object'),
    instances jsonb not null default '[]' constraint instances_is_an_array check (jsonb_typeof(instances) = 'array'),
    received_at timestamptz not null default clock_timestamp(),
    constraint applied_is_whole check ((applied_epoch is null) = (applied_generation is null))
) with (fillfactor = 50);
comment on table public.agent_reports is 'The last heartbeat of each environment''s agent.';
comment on column public.agent_reports.environment_id is 'Whose. No foreign key: reports are taken until the droplet is gone.';
comment on column public.agent_reports.epoch is 'The epoch of the token that it came with.';
comment on column public.agent_reports.boot_id is 'Made anew at each start of the agent.';
comment on column public.agent_reports.earlier_boots is 'The last boots before this one: a report of theirs is a replay.';
comment on column public.agent_reports.sequence is 'Rises with each heartbeat of a boot; one that does not is a replay.';
comment on column public.agent_reports.applied_epoch is 'The epoch of the desired set that the agent holds.';
comment on column public.agent_reports.applied_generation is 'The generation of the desired set that the agent holds.';
comment on column public.agent_reports.agent_version is 'The agent''s version.';
comment on column public.agent_reports.vitals is 'The droplet''s memory, disk, load and engine version.';
comment on column public.agent_reports.instances is 'Each instance''s observed state; only those of this environment.';
comment on column public.agent_reports.received_at is 'Stamped by the server.';

create table public.desired_sets (
    environment_id uuid primary key,
    epoch bigint not null,
    generation bigint not null,
    instances jsonb not null constraint instances_is_an_array check (jsonb_typeof(instances) = 'array'),
    stored_at timestamptz not null default clock_timestamp()
);
comment on table public.desired_sets is 'The complete desired set of each environment''s agent, as last compiled. It holds no secret.';
comment on column public.desired_sets.environment_id is 'Whose. No foreign key: it is needed until the droplet is gone.';
comment on column public.desired_sets.epoch is 'The agent_epoch that it was compiled for.';
comment on column public.desired_sets.generation is 'Rises whenever the content changes.';
comment on column public.desired_sets.instances is 'Every instance that should be on the droplet, with its container.';
comment on column public.desired_sets.stored_at is 'When it was stored.';

create table public.environment_firewalls (
    environment_id uuid primary key,
    do_firewall_id text,
    announced_at timestamptz not null default clock_timestamp(),
    epoch bigint not null,
    ports integer[] not null default '{}',
    closing jsonb not null default '{}' constraint closing_is_an_object check (jsonb_typeof(closing) = 'object'),
    state text not null default 'Unknown' constraint state_is_known check (state in ('True', 'False', 'Unknown')),
    reason text not null default 'Announced',
    message text not null default ''
);
comment on table public.environment_firewalls is 'Each environment''s firewall, written before it is made and removed after it is gone.';
comment on column public.environment_firewalls.environment_id is 'Whose. No foreign key: the firewall outlives the row.';
comment on column public.environment_firewalls.do_firewall_id is 'DigitalOcean''s id, once the firewall was seen.';
comment on column public.environment_firewalls.announced_at is 'When it was announced, before it was made.';
comment on column public.environment_firewalls.epoch is 'The agent_epoch of the droplet that the ports are those of.';
comment on column public.environment_firewalls.ports is 'Every port that may be open: written before it is opened, taken away after it was seen to be closed.';
comment on column public.environment_firewalls.closing is 'The ports that have to close before their tools stop, each with the time at which that was asked.';
comment on column public.environment_firewalls.state is 'Whether the firewall is as it should be: True, False or Unknown.';
comment on column public.environment_firewalls.reason is 'One upper-camel-case word for programs.';
comment on column public.environment_firewalls.message is 'A sentence for people; may be empty.';
