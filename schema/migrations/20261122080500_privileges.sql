-- Who may do what. Everything is taken away first, because a database may grant its API roles everything on new tables by
-- default, and because taking a column away from a table-wide grant does nothing: columns are granted, never taken away.
--
--   anon                  nothing
--   authenticated         the catalog; specification of the account's own rows
--   service_role          the catalog; specification of every account's rows; reads all
--   toolplane_controller  status; what the control plane keeps for itself
--
-- `status` is granted with the specification: the guard turns it into desired_state or refuses it.

do $$
declare
    object text;
begin
    for object in
        select format('table %s', class.oid::regclass)
        from pg_catalog.pg_class as class
        where class.oid = any (array[
            'public.tool_catalog', 'public.account_tool_environments', 'public.account_tool_instances',
            'public.agent_tool_instance_links', 'public.provisioning_intents', 'public.environment_tombstones',
            'public.reconcile_events', 'public.leases', 'public.agent_reports', 'public.desired_sets',
            'public.environment_firewalls', 'toolplane.environment_records'
        ]::regclass[])
        union all
        select format('sequence %s', pg_catalog.pg_get_serial_sequence('public.reconcile_events', 'id'))
        union all
        select format('function %s', function.oid::regprocedure)
        from pg_catalog.pg_proc as function
        where function.pronamespace = 'toolplane'::regnamespace
            or function.oid = 'public.trigger_set_timestamp()'::regprocedure
    loop
        execute format('revoke all on %s from public, anon, authenticated, service_role, toolplane_controller', object);
    end loop;
end
$$;

revoke all on schema toolplane from public, anon, authenticated, service_role;
grant usage on schema toolplane to service_role, toolplane_controller;
grant usage on schema public to authenticated, service_role, toolplane_controller;

-- The catalog.
grant select on public.tool_catalog to authenticated, toolplane_controller;
grant select, delete on public.tool_catalog to service_role;
grant
    insert (
        id, tool_name, description, developer_org_name, categories, icon_url, documentation_url, packaging_type,
        package_identifier, version_info, default_config_template, required_secrets_schema, resource_requirements, status
    ),
    update (
        tool_name, description, developer_org_name, categories, icon_url, documentation_url, packaging_type,
        package_identifier, version_info, default_config_template, required_secrets_schema, resource_requirements, status
    )
    on public.tool_catalog to service_role;

-- Environments. Users do not choose ids: an id may be that of an environment whose droplet is still there.
grant select, delete on public.account_tool_environments to authenticated, service_role;
grant
    insert (user_id, region_slug, size_slug, image_slug, desired_state, paused, status),
    update (region_slug, size_slug, image_slug, desired_state, paused, status)
    on public.account_tool_environments to authenticated, service_role;
grant insert (id) on public.account_tool_environments to service_role;
grant select on public.account_tool_environments to toolplane_controller;
grant update (
    status, do_droplet_id, ip_address, do_created_at, last_heartbeat_at, error_message, observed_generation, agent_epoch,
    conditions, observed_at
) on public.account_tool_environments to toolplane_controller;

-- Instances.
grant select, delete on public.account_tool_instances to authenticated, service_role;
grant
    insert (
        account_tool_environment_id, tool_catalog_id, instance_name, version_to_run, config_values_override, desired_state,
        paused, status
    ),
    update (tool_catalog_id, instance_name, version_to_run, config_values_override, desired_state, paused, status)
    on public.account_tool_instances to authenticated, service_role;
grant insert (id) on public.account_tool_instances to service_role;
grant select on public.account_tool_instances to toolplane_controller;
grant update (
    status, actual_running_version, runtime_details, error_message, observed_generation, conditions, observed_at
) on public.account_tool_instances to toolplane_controller;

-- Links.
grant select, delete on public.agent_tool_instance_links to authenticated, service_role;
grant
    insert (agent_id, account_tool_instance_id, link_activated_at, link_deactivated_at),
    update (link_activated_at, link_deactivated_at)
    on public.agent_tool_instance_links to authenticated, service_role;
grant insert (id) on public.agent_tool_instance_links to service_role;

-- What the control plane keeps for itself.
grant select on public.provisioning_intents, public.environment_tombstones, public.leases, public.agent_reports,
    public.desired_sets, public.environment_firewalls, toolplane.environment_records to service_role, toolplane_controller;
grant insert, update on public.provisioning_intents, public.agent_reports, public.desired_sets, public.environment_firewalls
    to toolplane_controller;
grant delete on public.environment_tombstones, public.agent_reports, public.desired_sets, public.environment_firewalls
    to toolplane_controller;
grant update (do_droplet_id) on public.environment_tombstones to toolplane_controller;
grant update (holder, holder_name, epoch, expires_at) on public.leases to toolplane_controller;

grant select on public.reconcile_events to authenticated, service_role, toolplane_controller;
grant delete on public.reconcile_events to toolplane_controller;
grant execute on function
    toolplane.event_record(uuid, uuid, public.reconcile_event_type_enum, text, text, text, text)
    to service_role, toolplane_controller;

-- Rows. A table with row-level security and no policy for a role shows that role nothing.
alter table public.tool_catalog enable row level security;
alter table public.account_tool_environments enable row level security;
alter table public.account_tool_instances enable row level security;
alter table public.agent_tool_instance_links enable row level security;
alter table public.provisioning_intents enable row level security;
alter table public.environment_tombstones enable row level security;
alter table public.reconcile_events enable row level security;
alter table public.leases enable row level security;
alter table public.agent_reports enable row level security;
alter table public.desired_sets enable row level security;
alter table public.environment_firewalls enable row level security;
-- Forced on the owner too, except where the owner's definer functions read and write.
alter table public.tool_catalog force row level security;
alter table public.agent_tool_instance_links force row level security;
alter table public.leases force row level security;

do $$
declare
    target regclass;
begin
    foreach target in array array[
        'public.tool_catalog', 'public.account_tool_environments', 'public.account_tool_instances',
        'public.agent_tool_instance_links', 'public.provisioning_intents', 'public.environment_tombstones',
        'public.reconcile_events', 'public.leases', 'public.agent_reports', 'public.desired_sets',
        'public.environment_firewalls'
    ]::regclass[] loop
        execute format(
            'create policy control_plane on %s to service_role, toolplane_controller using (true) with check (true)', target
        );
    end loop;
end
$$;

create policy own_environment on public.account_tool_environments to authenticated
    using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));

-- The policies below read other tables as the user, so those tables' policies decide what is the user's own.
create policy own_instances on public.account_tool_instances to authenticated
    using (exists (
        select from public.account_tool_environments as environment
        where environment.id = account_tool_environment_id and environment.user_id = (select auth.uid())
    ))
    with check (exists (
        select from public.account_tool_environments as environment
        where environment.id = account_tool_environment_id and environment.user_id = (select auth.uid())
    ));

create policy own_links on public.agent_tool_instance_links to authenticated
    using (exists (
        select from public.agents as agent where agent.id = agent_id and agent.user_id = (select auth.uid())
    ))
    with check (
        exists (select from public.agents as agent where agent.id = agent_id and agent.user_id = (select auth.uid()))
        and exists (select from public.account_tool_instances as instance where instance.id = account_tool_instance_id)
    );

create policy offered_or_in_use on public.tool_catalog for select to authenticated
    using (
        status <> 'archived'
        or exists (select from public.account_tool_instances as instance where instance.tool_catalog_id = tool_catalog.id)
    );

create policy own_events on public.reconcile_events for select to authenticated
    using (exists (
        select from public.account_tool_environments as environment
        where environment.id = environment_id and environment.user_id = (select auth.uid())
    ));
