-- What DigitalOcean has, as the last sweep left it. One replica sweeps for all: the holder of shard 0. It writes differences only,
-- so a sweep of an unchanged fleet writes one row of fleet_sweeps and no row of fleet_resources.

create table public.fleet_sweeps (
    kind text primary key constraint kind_is_known check (kind in ('droplets', 'firewalls')),
    number bigint not null default 0,
    forgotten bigint not null default 0,
    began_at timestamptz,
    finished_at timestamptz,
    listed integer not null default 0,
    withheld_since timestamptz,
    withheld_reason text,
    confirmed_at timestamptz not null default '-infinity',
    failure text,
    constraint withheld_is_whole check ((withheld_since is null) = (withheld_reason is null))
) with (fillfactor = 50);
insert into public.fleet_sweeps (kind) values ('droplets'), ('firewalls');
comment on table public.fleet_sweeps is 'The last sweep of each kind, and whether what it missed may be believed to be gone.';
comment on column public.fleet_sweeps.kind is 'droplets or firewalls.';
comment on column public.fleet_sweeps.number is 'Rises with each sweep.';
comment on column public.fleet_sweeps.forgotten is 'What went in this sweep or before may not be listed any more: who is as far behind reads everything again.';
comment on column public.fleet_sweeps.began_at is 'When the first page of the last whole list was asked for: what is not in it was not there then.';
comment on column public.fleet_sweeps.finished_at is 'When the last sweep was stored.';
comment on column public.fleet_sweeps.listed is 'How many the last list had.';
comment on column public.fleet_sweeps.withheld_since is 'Since when nothing is created or deleted for what is missing from the lists; null while they are believed.';
comment on column public.fleet_sweeps.withheld_reason is 'Why, with numbers.';
comment on column public.fleet_sweeps.confirmed_at is 'What was missing at this time is confirmed to be gone. Set by the sweep after it asked for each; an operator who knows better sets it to clock_timestamp().';
comment on column public.fleet_sweeps.failure is 'Why what the installation has once of this kind, the base firewall, is not as it should be; null unless somebody tried in vain.';

create table public.fleet_resources (
    kind text not null references public.fleet_sweeps (kind),
    key text not null,
    environment_id uuid,
    shard smallint not null generated always as (
        case when environment_id is null then 0 else get_byte(uuid_send(environment_id), 15) % 64 end
    ) stored,
    seen jsonb not null,
    standing text not null constraint standing_is_known check (standing in ('seen', 'missing', 'gone', 'removed')),
    since timestamptz not null,
    changed bigint not null,
    primary key (kind, key)
);
create index fleet_resources_changed_idx on public.fleet_resources (kind, changed);
create index fleet_resources_environment_idx on public.fleet_resources (environment_id);
comment on table public.fleet_resources is 'The droplets and firewalls of this installation, as last seen in a sweep.';
comment on column public.fleet_resources.kind is 'droplets or firewalls.';
comment on column public.fleet_resources.key is 'A droplet''s id, or a firewall''s name.';
comment on column public.fleet_resources.environment_id is 'Whose; null for what the installation has once. No foreign key: it may be left over from a row that is gone.';
comment on column public.fleet_resources.shard is 'The shard whose replica needs it; every replica needs what the installation has once.';
comment on column public.fleet_resources.seen is 'What decisions need to know of it.';
comment on column public.fleet_resources.standing is 'seen; missing: not in the list, which is not believed; gone: believed; removed: gone as was wanted. The last two are kept for a while, so that every replica learns of them.';
comment on column public.fleet_resources.since is 'Since when it stands so.';
comment on column public.fleet_resources.changed is 'The sweep that last changed it.';

create function toolplane.notify_fleet() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    perform pg_catalog.pg_notify('toolplane', 'fleet ' || new.kind);
    return null;
end
$$;
comment on function toolplane.notify_fleet() is 'Tells listeners that a sweep was stored.';
create trigger notify_fleet after update on public.fleet_sweeps
    for each row execute function toolplane.notify_fleet();

revoke all on public.fleet_sweeps, public.fleet_resources from public, anon, authenticated, service_role, toolplane_controller;
revoke all on function toolplane.notify_fleet() from public, anon, authenticated, service_role, toolplane_controller;
grant select on public.fleet_sweeps, public.fleet_resources to service_role, toolplane_controller;
grant update (number, forgotten, began_at, finished_at, listed, withheld_since, withheld_reason, confirmed_at, failure)
    on public.fleet_sweeps to toolplane_controller;
grant update (confirmed_at) on public.fleet_sweeps to service_role;
grant insert (kind, key, environment_id, seen, standing, since, changed),
    update (environment_id, seen, standing, since, changed) on public.fleet_resources to toolplane_controller;
grant delete on public.fleet_resources to toolplane_controller;

alter table public.fleet_sweeps enable row level security;
alter table public.fleet_resources enable row level security;
alter table public.fleet_sweeps force row level security;
alter table public.fleet_resources force row level security;
create policy control_plane on public.fleet_sweeps to service_role, toolplane_controller using (true) with check (true);
create policy control_plane on public.fleet_resources to service_role, toolplane_controller using (true) with check (true);
