-- Replicas and the budget of requests that they share.

alter table public.leases add column refused_writes bigint not null default 0;
comment on column public.leases.refused_writes
    is 'How many writes were refused because the lease that they were made under was not held any more.';
grant update (refused_writes) on public.leases to toolplane_controller;

create table public.replicas (
    id uuid primary key,
    name text not null,
    started_at timestamptz not null default clock_timestamp(),
    seen_at timestamptz not null default clock_timestamp(),
    expires_at timestamptz not null
) with (fillfactor = 50);
comment on table public.replicas is 'The replicas of toolplane serve that are there. Their number says how many shards each should hold.';
comment on column public.replicas.id is 'The id that leases.holder names; made anew at each start.';
comment on column public.replicas.name is 'For people: host and process.';
comment on column public.replicas.started_at is 'When it was first seen.';
comment on column public.replicas.seen_at is 'When it last renewed its leases, by the database''s clock.';
comment on column public.replicas.expires_at is 'From when on it does not count any more, if it is not seen again. The same moment as that of its leases.';

-- One row: whoever takes requests locks it, so that takers come one after the other.
create table public.request_budget (
    one boolean primary key default true constraint there_is_one check (one),
    blocked_until timestamptz not null default '-infinity'
);
insert into public.request_budget default values;
comment on table public.request_budget is 'The budget of requests to DigitalOcean that all replicas share. One row.';
comment on column public.request_budget.one is 'Always true.';
comment on column public.request_budget.blocked_until is 'Nobody sends before this: DigitalOcean answered 429.';

create table public.request_grants (
    id bigint generated always as identity primary key,
    replica uuid not null,
    requests integer not null constraint requests_is_positive check (requests > 0),
    settled boolean not null default false,
    returns_at timestamptz not null,
    minute_until timestamptz not null,
    hour_until timestamptz not null
);
comment on table public.request_grants is 'Blocks of requests that replicas were given, for as long as they count against a limit.';
comment on column public.request_grants.id is 'Primary key.';
comment on column public.request_grants.replica is 'Who has it.';
comment on column public.request_grants.requests is 'How many it is good for; once settled, how many were sent.';
comment on column public.request_grants.settled is 'Whether every request of it was answered, and what was not sent is given back.';
comment on column public.request_grants.returns_at is 'Until when its requests may be sent.';
comment on column public.request_grants.minute_until is 'Until when it counts against the limit of the minute.';
comment on column public.request_grants.hour_until is 'Until when it counts against the limit of the hour.';

create function toolplane.requests_free_at(minute_ceiling integer, hour_ceiling integer, at timestamptz) returns timestamptz
language plpgsql
stable
set search_path = ''
as $$
declare
    used_minute integer;
    used_hour integer;
    free_at timestamptz;
begin
    select coalesce(sum(taken.requests) filter (where taken.minute_until > at), 0), coalesce(sum(taken.requests), 0)
    into used_minute, used_hour
    from public.request_grants as taken where taken.hour_until > at;
    if used_minute < minute_ceiling and used_hour < hour_ceiling then
        return null;
    end if;
    select greatest(
        (select min(back.until) from (
            select taken.minute_until as until, used_minute - sum(taken.requests) over (order by taken.minute_until) as used
            from public.request_grants as taken where taken.minute_until > at
        ) as back where used_minute >= minute_ceiling and back.used < minute_ceiling),
        (select min(back.until) from (
            select taken.hour_until as until, used_hour - sum(taken.requests) over (order by taken.hour_until) as used
            from public.request_grants as taken where taken.hour_until > at
        ) as back where used_hour >= hour_ceiling and back.used < hour_ceiling)
    ) into free_at;
    -- What somebody does not use comes back before that.
    select least(free_at, min(unsettled.returns_at)) into free_at
    from public.request_grants as unsettled
    where not unsettled.settled and unsettled.returns_at > at;
    return free_at;
end
$$;
comment on function toolplane.requests_free_at(integer, integer, timestamptz)
    is 'When as much has come back that one more request fits below these ceilings; null when one does already.';

-- Each statement of a function in PL/pgSQL sees what was committed before it began. One statement that locked and summed up in one
-- would sum up what was there before it waited for the lock.
create function toolplane.requests_take(
    for_replica uuid, wanted integer[], minute_ceilings integer[], hour_ceilings integer[],
    minute interval, hour interval, lasts interval, slack interval,
    out grant_id bigint, out granted integer, out again_in interval
)
language plpgsql
set search_path = ''
as $$
declare
    blocked timestamptz;
    taken_at timestamptz;
    used_minute integer;
    used_hour integer;
    first_waiting integer;
begin
    select budget.blocked_until into blocked from public.request_budget as budget for update;
    taken_at := pg_catalog.clock_timestamp();
    granted := 0;
    delete from public.request_grants as expired where expired.hour_until <= taken_at;
    if blocked > taken_at then
        again_in := blocked - taken_at;
        return;
    end if;

    select coalesce(sum(taken.requests) filter (where taken.minute_until > taken_at), 0), coalesce(sum(taken.requests), 0)
    into used_minute, used_hour
    from public.request_grants as taken;
    -- The first go first. Those that come later may use less of the limit, so that something is left for the first.
    for priority in 1 .. pg_catalog.cardinality(wanted) loop
        granted := granted + greatest(0, least(
            wanted[priority],
            minute_ceilings[priority] - used_minute - granted,
            hour_ceilings[priority] - used_hour - granted
        ));
    end loop;
    if granted > 0 then
        insert into public.request_grants (replica, requests, returns_at, minute_until, hour_until)
        values (for_replica, granted, taken_at + lasts, taken_at + lasts + slack + minute, taken_at + lasts + slack + hour)
        returning id into grant_id;
        return;
    end if;

    select priority into first_waiting from pg_catalog.generate_subscripts(wanted, 1) as priority
    where wanted[priority] > 0 order by priority limit 1;
    again_in := toolplane.requests_free_at(minute_ceilings[first_waiting], hour_ceilings[first_waiting], taken_at) - taken_at;
end
$$;
comment on function toolplane.requests_take(uuid, integer[], integer[], integer[], interval, interval, interval, interval)
    is 'Grants a replica a block of the requests that are left, or says when to ask again.';

do $$
declare
    object text;
begin
    foreach object in array array[
        'table public.replicas', 'table public.request_budget', 'table public.request_grants',
        'sequence public.request_grants_id_seq',
        'function toolplane.requests_free_at(integer, integer, timestamptz)',
        'function toolplane.requests_take(uuid, integer[], integer[], integer[], interval, interval, interval, interval)'
    ] loop
        execute format('revoke all on %s from public, anon, authenticated, service_role, toolplane_controller', object);
    end loop;

    foreach object in array array['public.replicas', 'public.request_budget', 'public.request_grants'] loop
        execute format('alter table %s enable row level security', object);
        execute format(
            'create policy control_plane on %s to service_role, toolplane_controller using (true) with check (true)', object
        );
    end loop;
end
$$;
grant select on public.replicas, public.request_budget, public.request_grants to service_role, toolplane_controller;
grant insert (id, name, expires_at), update (name, seen_at, expires_at), delete on public.replicas to toolplane_controller;
grant update (blocked_until) on public.request_budget to toolplane_controller;
grant insert (replica, requests, returns_at, minute_until, hour_until), update (requests, settled, minute_until, hour_until), delete
    on public.request_grants to toolplane_controller;
grant execute on function
    toolplane.requests_free_at(integer, integer, timestamptz),
    toolplane.requests_take(uuid, integer[], integer[], integer[], interval, interval, interval, interval)
    to toolplane_controller;
