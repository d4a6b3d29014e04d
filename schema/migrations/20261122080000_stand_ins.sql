-- What Supabase brings and other databases lack: the schema `auth` with users and the caller's identity, the roles of its API,
-- and the product's table of agents. Each is made only where it is missing, and nothing that exists is changed.

create schema if not exists toolplane;
comment on schema toolplane is 'Functions and views of the control plane. Its tables are in public, beside those that users see.';

-- Roles belong to the whole server, so another database's migration may be making them at this moment.
do $$
begin
    if not exists (select from pg_catalog.pg_roles where rolname = 'anon') then
        create role anon nologin noinherit;
    end if;
exception when duplicate_object or unique_violation then null;
end
$$;

do $$
begin
    if not exists (select from pg_catalog.pg_roles where rolname = 'authenticated') then
        create role authenticated nologin noinherit;
    end if;
exception when duplicate_object or unique_violation then null;
end
$$;

do $$
begin
    if not exists (select from pg_catalog.pg_roles where rolname = 'service_role') then
        create role service_role nologin noinherit;
    end if;
exception when duplicate_object or unique_violation then null;
end
$$;

do $$
begin
    if not exists (select from pg_catalog.pg_roles where rolname = 'toolplane_controller') then
        create role toolplane_controller nologin noinherit;
    end if;
exception when duplicate_object or unique_violation then null;
end
$$;

-- Whoever migrates can also serve and apply: both start with `set role`.
do $$
declare
    wanted name;
begin
    foreach wanted in array array['anon', 'authenticated', 'service_role', 'toolplane_controller']::name[] loop
        if not pg_catalog.pg_has_role(current_user, wanted, 'member') then
            execute format('grant %I to %I', wanted, current_user);
        end if;
    end loop;
exception when duplicate_object or unique_violation then null;
end
$$;

do $$
begin
    if to_regnamespace('auth') is null then
        create schema auth;
        comment on schema auth is 'Stand-in for the schema of the same name on Supabase.';
        grant usage on schema auth to anon, authenticated, service_role;
    end if;

    if to_regclass('auth.users') is null then
        create table auth.users (
            id uuid primary key default gen_random_uuid(),
            email text unique,
            created_at timestamptz not null default now()
        );
        comment on table auth.users is 'Stand-in for Supabase''s users: who owns accounts.';
        comment on column auth.users.id is 'What `sub` in a user''s token says.';
        comment on column auth.users.email is 'For people.';
        comment on column auth.users.created_at is 'When the user was made.';
        revoke all on auth.users from public, anon, authenticated, service_role;
        grant select, insert, update, delete on auth.users to service_role;
    end if;

    if to_regprocedure('auth.uid()') is null then
        create function auth.uid() returns uuid
        language sql stable
        set search_path = ''
        return coalesce(
            nullif(current_setting('request.jwt.claim.sub', true), ''),
            nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'
        )::uuid;
        comment on function auth.uid() is 'Stand-in for Supabase''s function: the user whose claims were set for this transaction.';
    end if;
end
$$;

do $$
begin
    if to_regclass('public.agents') is null then
        create table public.agents (
            id uuid primary key default gen_random_uuid(),
            user_id uuid not null references auth.users (id) on delete cascade,
            name text,
            created_at timestamptz not null default now()
        );
        create index agents_user_id_idx on public.agents (user_id);
        comment on table public.agents is 'Stand-in for the product''s agents, each owned by one user.';
        comment on column public.agents.id is 'Primary key.';
        comment on column public.agents.user_id is 'The owner.';
        comment on column public.agents.name is 'For people.';
        comment on column public.agents.created_at is 'When the agent was made.';

        revoke all on public.agents from public, anon, authenticated, service_role;
        grant select, delete on public.agents to authenticated;
        grant insert (user_id, name), update (name) on public.agents to authenticated;
        grant select, insert, update, delete on public.agents to service_role;
        alter table public.agents enable row level security;
        create policy own_agents on public.agents to authenticated
            using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));
        create policy every_agent on public.agents to service_role using (true) with check (true);
    elsif not exists (
        select from information_schema.columns
        where table_schema = 'public' and table_name = 'agents' and column_name = 'user_id'
    ) then
        raise exception 'public.agents has no column user_id: whose an agent is decides what it may be linked to';
    end if;
end
$$;
