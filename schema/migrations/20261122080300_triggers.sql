-- Triggers before a write run in the order of their names: `a_` judges and translates, `b_` refuses, `c_` counts, `d_` stamps.

-- Programs written for the first schema know only `status`. What they ask for becomes specification, and the status stays what
-- the controller observed. A `desired_state` given in the same statement wins.
create function toolplane.environment_status_guard() returns trigger
language plpgsql
set search_path = ''
as $$
declare
    wanted public.environment_desired_state_enum := case new.status
        when 'pending_creation' then 'active'::public.environment_desired_state_enum
        when 'pending_deletion' then 'deleted'
        else null
    end;
begin
    if current_user = 'toolplane_controller' or (tg_op = 'UPDATE' and wanted is null and new.status = old.status) then
        return new;
    end if;
    if wanted is null then
        raise exception 'account_tool_environments.status is what the controller observed and cannot be set to ''%''', new.status
            using errcode = 'check_violation', schema = tg_table_schema, table = tg_table_name, column = 'desired_state',
                hint = 'Write desired_state: ''active'' for a droplet, ''deleted'' for none.';
    end if;
    if tg_op = 'UPDATE' then
        if new.desired_state = old.desired_state then
            new.desired_state := wanted;
        end if;
        new.status := old.status;
    elsif new.status <> 'pending_creation' then
        new.desired_state := wanted;
        new.status := 'pending_creation';
    end if;
    return new;
end
$$;
comment on function toolplane.environment_status_guard() is 'Turns requests in status into desired_state, and refuses any other status.';

create function toolplane.instance_status_guard() returns trigger
language plpgsql
set search_path = ''
as $$
declare
    wanted public.instance_desired_state_enum := case new.status
        when 'pending_start' then 'running'::public.instance_desired_state_enum
        when 'stopping' then 'stopped'
        when 'stopped' then 'stopped'
        when 'pending_removal' then 'removed'
        else null
    end;
begin
    if current_user = 'toolplane_controller' or (tg_op = 'UPDATE' and wanted is null and new.status = old.status) then
        return new;
    end if;
    if wanted is null then
        raise exception 'account_tool_instances.status is what the controller observed and cannot be set to ''%''', new.status
            using errcode = 'check_violation', schema = tg_table_schema, table = tg_table_name, column = 'desired_state',
                hint = 'Write desired_state: ''running'', ''stopped'' or ''removed''.';
    end if;
    if tg_op = 'UPDATE' then
        if new.desired_state = old.desired_state then
            new.desired_state := wanted;
        end if;
        new.status := old.status;
    elsif new.status <> 'pending_start' then
        new.desired_state := wanted;
        new.status := 'pending_start';
    end if;
    return new;
end
$$;
comment on function toolplane.instance_status_guard() is 'Turns requests in status into desired_state, and refuses any other status.';

create trigger a_status_guard before insert or update of status on public.account_tool_environments
    for each row execute function toolplane.environment_status_guard();
create trigger a_status_guard before insert or update of status on public.account_tool_instances
    for each row execute function toolplane.instance_status_guard();

-- Definer: whoever changes a region may not read intents.
create function toolplane.environment_placement_guard() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    changed text := case
        when new.region_slug <> old.region_slug then 'region_slug'
        when new.image_slug <> old.image_slug then 'image_slug'
        else null
    end;
begin
    if new.user_id <> old.user_id then
        raise exception 'account_tool_environments.user_id is fixed: a droplet stays with its account'
            using errcode = 'check_violation', schema = tg_table_schema, table = tg_table_name, column = 'user_id',
                hint = 'Delete the environment and create one for the other account.';
    end if;
    if changed is not null and (
        old.do_droplet_id is not null
        or exists (
            select from public.provisioning_intents as intent
            where intent.environment_id = old.id and intent.resolved_at is null
        )
    ) then
        raise exception 'account_tool_environments.% is fixed once a droplet exists', changed
            using errcode = 'check_violation', schema = tg_table_schema, table = tg_table_name, column = changed,
                hint = 'Set desired_state to ''deleted'', wait for status ''deleted'', change it, and set desired_state to ''active''.';
    end if;
    return new;
end
$$;
comment on function toolplane.environment_placement_guard() is 'Refuses a change of owner, and of region or image while a droplet may exist.';

create trigger b_placement_guard before update of user_id, region_slug, image_slug on public.account_tool_environments
    for each row execute function toolplane.environment_placement_guard();

create function toolplane.instance_environment_guard() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    raise exception 'account_tool_instances.account_tool_environment_id is fixed: an instance stays on its droplet'
        using errcode = 'check_violation', schema = tg_table_schema, table = tg_table_name,
            column = 'account_tool_environment_id', hint = 'Create an instance in the other environment.';
end
$$;
comment on function toolplane.instance_environment_guard() is 'Refuses to move an instance to another environment.';

create trigger b_environment_guard before update of account_tool_environment_id on public.account_tool_instances
    for each row when (new.account_tool_environment_id <> old.account_tool_environment_id)
    execute function toolplane.instance_environment_guard();

-- Definer: whoever inserts may not read tombstones.
create function toolplane.environment_tombstone_guard() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if exists (select from public.environment_tombstones as tombstone where tombstone.environment_id = new.id) then
        raise exception 'environment % was deleted, and its droplet is still being destroyed', new.id
            using errcode = 'check_violation', schema = tg_table_schema, table = tg_table_name, column = 'id',
                hint = 'Wait until its tombstone is gone, or leave the id out to get a fresh one.';
    end if;
    return new;
end
$$;
comment on function toolplane.environment_tombstone_guard() is 'Refuses the id of an environment whose droplet is still being destroyed.';

create trigger b_tombstone_guard before insert on public.account_tool_environments
    for each row execute function toolplane.environment_tombstone_guard();

-- Definer: whoever links may not read the other account's rows, which is what is checked.
create function toolplane.link_account_guard() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if not exists (
        select
        from public.agents as agent
        join public.account_tool_environments as environment on environment.user_id = agent.user_id
        join public.account_tool_instances as instance on instance.account_tool_environment_id = environment.id
        where agent.id = new.agent_id and instance.id = new.account_tool_instance_id
    ) then
        raise exception 'agent % and tool instance % do not belong to one account', new.agent_id, new.account_tool_instance_id
            using errcode = 'check_violation', schema = tg_table_schema, table = tg_table_name,
                column = 'account_tool_instance_id';
    end if;
    return new;
end
$$;
comment on function toolplane.link_account_guard() is 'Refuses links across accounts.';

create trigger b_account_guard before insert or update of agent_id, account_tool_instance_id on public.agent_tool_instance_links
    for each row execute function toolplane.link_account_guard();

create function toolplane.environment_generation() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    new.generation := old.generation + case
        when (new.region_slug, new.size_slug, new.image_slug, new.desired_state, new.paused)
            is distinct from (old.region_slug, old.size_slug, old.image_slug, old.desired_state, old.paused) then 1
        else 0
    end;
    return new;
end
$$;
comment on function toolplane.environment_generation() is 'Raises generation when the specification changed, and lets nobody else set it.';

create function toolplane.instance_generation() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    new.generation := old.generation + case
        when (
            new.tool_catalog_id, new.instance_name, new.version_to_run, new.config_values_override, new.desired_state, new.paused
        ) is distinct from (
            old.tool_catalog_id, old.instance_name, old.version_to_run, old.config_values_override, old.desired_state, old.paused
        ) then 1
        else 0
    end;
    return new;
end
$$;
comment on function toolplane.instance_generation() is 'Raises generation when the specification changed, and lets nobody else set it.';

create trigger c_generation before update on public.account_tool_environments
    for each row execute function toolplane.environment_generation();
create trigger c_generation before update on public.account_tool_instances
    for each row execute function toolplane.instance_generation();

create trigger d_set_timestamp before update on public.tool_catalog
    for each row execute function public.trigger_set_timestamp();
create trigger d_set_timestamp before update on public.account_tool_environments
    for each row execute function public.trigger_set_timestamp();
create trigger d_set_timestamp before update on public.account_tool_instances
    for each row execute function public.trigger_set_timestamp();
create trigger d_set_timestamp before update on public.agent_tool_instance_links
    for each row execute function public.trigger_set_timestamp();

-- A deleted row must still cost its droplet. An intent, however it ended, may have made one that nobody has seen yet.
create function toolplane.environment_tombstone() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if old.do_droplet_id is not null
        or exists (select from public.provisioning_intents as intent where intent.environment_id = old.id)
        or exists (select from public.environment_firewalls as firewall where firewall.environment_id = old.id)
    then
        insert into public.environment_tombstones (environment_id, user_id, do_droplet_id, ip_address, agent_epoch)
        values (old.id, old.user_id, old.do_droplet_id, old.ip_address, old.agent_epoch);
    else
        delete from public.desired_sets as stored where stored.environment_id = old.id;
        delete from public.agent_reports as report where report.environment_id = old.id;
    end if;
    return null;
end
$$;
comment on function toolplane.environment_tombstone() is 'Leaves a tombstone for a deleted environment that may have a droplet.';

create trigger leave_tombstone after delete on public.account_tool_environments
    for each row execute function toolplane.environment_tombstone();

create function toolplane.truncate_guard() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    raise exception 'TRUNCATE would leave droplets behind that nobody knows of'
        using errcode = 'restrict_violation', schema = tg_table_schema, table = tg_table_name,
            hint = 'Use DELETE: it leaves a tombstone for each droplet.';
end
$$;
comment on function toolplane.truncate_guard() is 'Refuses TRUNCATE, which runs no triggers for rows.';

create trigger no_truncate before truncate on public.account_tool_environments
    for each statement execute function toolplane.truncate_guard();

-- Events. One function for the controller and the trigger below, so that there is one rule of what is the same event.
create function toolplane.event_record(
    about_environment uuid, about_instance uuid, event_type public.reconcile_event_type_enum, event_reason text,
    event_message text, event_actor text, event_cause text
) returns void
language plpgsql
security definer
set search_path = ''
as $$
declare
    known bigint;
begin
    -- One statement for both would not use the index of environments.
    if about_environment is null then
        select same.id into known
        from public.reconcile_events as same
        where same.environment_id is null
            and same.reason = event_reason
            and same.message = event_message
            and same.last_seen > pg_catalog.clock_timestamp() - interval '1 hour'
        order by same.last_seen desc
        limit 1;
    else
        select same.id into known
        from public.reconcile_events as same
        where same.environment_id = about_environment
            and same.instance_id is not distinct from about_instance
            and same.reason = event_reason
            and same.message = event_message
            and same.last_seen > pg_catalog.clock_timestamp() - interval '1 hour'
        order by same.last_seen desc
        limit 1;
    end if;
    update public.reconcile_events as event
    set count = event.count + 1, last_seen = pg_catalog.clock_timestamp(), actor = event_actor, cause = event_cause
    where event.id = known;
    if not found then
        insert into public.reconcile_events (environment_id, instance_id, type, reason, message, actor, cause)
        values (about_environment, about_instance, event_type, event_reason, event_message, event_actor, event_cause);
    end if;
end
$$;
comment on function toolplane.event_record(uuid, uuid, public.reconcile_event_type_enum, text, text, text, text)
    is 'Records an event, or counts it when the same was seen within the hour.';

-- A status is the sum of what was seen, and the condition `Ready` says what that was.
create function toolplane.status_cause(conditions jsonb, generation bigint) returns text
language sql
stable
set search_path = ''
as $$
    select coalesce(
        (
            select pg_catalog.format('%s of generation %s%s', ready.reason, generation, ': ' || nullif(ready.message, ''))
            from pg_catalog.jsonb_to_recordset(conditions) as ready (type text, reason text, message text)
            where ready.type = 'Ready'
        ),
        pg_catalog.format('status of generation %s', generation)
    )
$$;
comment on function toolplane.status_cause(jsonb, bigint) is 'Why a status is what it is, for an event.';

create function toolplane.environment_status_event() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform toolplane.event_record(
        new.id, null,
        case when new.status in ('error_creation', 'error_deletion', 'unresponsive')
            then 'Warning'::public.reconcile_event_type_enum else 'Normal' end,
        'StatusChanged', pg_catalog.format('%s -> %s', old.status, new.status), 'database',
        toolplane.status_cause(new.conditions, new.observed_generation)
    );
    return null;
end
$$;
comment on function toolplane.environment_status_event() is 'Records each change of an environment''s status as an event.';

create function toolplane.instance_status_event() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform toolplane.event_record(
        new.account_tool_environment_id, new.id,
        case when new.status = 'error_runtime' then 'Warning'::public.reconcile_event_type_enum else 'Normal' end,
        'StatusChanged', pg_catalog.format('%s -> %s', old.status, new.status), 'database',
        toolplane.status_cause(new.conditions, new.observed_generation)
    );
    return null;
end
$$;
comment on function toolplane.instance_status_event() is 'Records each change of an instance''s status as an event.';

create function toolplane.instance_restart_event() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    perform toolplane.event_record(
        new.account_tool_environment_id, new.id, 'Warning', 'Restarted', 'its agent started it again', 'database',
        pg_catalog.format('restart %s since its droplet booted, by the agent''s report', new.runtime_details ->> 'restarts')
    );
    return null;
end
$$;
comment on function toolplane.instance_restart_event() is 'Records that an instance was restarted as an event.';

create trigger record_restart after update of runtime_details on public.account_tool_instances
    for each row when (new.runtime_details -> 'restarts' > coalesce(old.runtime_details -> 'restarts', '0'))
    execute function toolplane.instance_restart_event();
create trigger record_status after update of status on public.account_tool_environments
    for each row when (new.status <> old.status) execute function toolplane.environment_status_event();
create trigger record_status after update of status on public.account_tool_instances
    for each row when (new.status <> old.status) execute function toolplane.instance_status_event();

-- Notifications: `<kind> <uuid>` on the channel `toolplane`, of what a reconciler may have to react to. A heartbeat that says
-- nothing new, and a look that saw nothing new, are not worth one.
create function toolplane.notify_change() returns trigger
language plpgsql
set search_path = ''
as $$
declare
    changed record := case when tg_op = 'DELETE' then old else new end;
begin
    if tg_argv[0] = 'account_tool_environment_id' then
        perform pg_catalog.pg_notify('toolplane', 'environment ' || changed.account_tool_environment_id);
    elsif tg_argv[0] = 'environment_id' then
        perform pg_catalog.pg_notify('toolplane', 'environment ' || changed.environment_id);
    else
        perform pg_catalog.pg_notify('toolplane', tg_argv[0] || ' ' || changed.id);
    end if;
    return null;
end
$$;
comment on function toolplane.notify_change() is 'Tells listeners which environment or catalog entry changed.';

create trigger notify_change after insert or delete or update on public.tool_catalog
    for each row execute function toolplane.notify_change('catalog');

create trigger notify_presence after insert or delete on public.account_tool_environments
    for each row execute function toolplane.notify_change('environment');
create trigger notify_change after update on public.account_tool_environments
    for each row when (
        (
            old.user_id, old.do_droplet_id, old.ip_address, old.status, old.region_slug, old.size_slug, old.image_slug,
            old.do_created_at, old.error_message, old.desired_state, old.paused, old.generation, old.observed_generation,
            old.agent_epoch, old.conditions
        ) is distinct from (
            new.user_id, new.do_droplet_id, new.ip_address, new.status, new.region_slug, new.size_slug, new.image_slug,
            new.do_created_at, new.error_message, new.desired_state, new.paused, new.generation, new.observed_generation,
            new.agent_epoch, new.conditions
        )
        -- The heartbeat that ends a silence.
        or (new.status = 'unresponsive' and new.last_heartbeat_at is distinct from old.last_heartbeat_at)
    ) execute function toolplane.notify_change('environment');

create trigger notify_presence after insert or delete on public.account_tool_instances
    for each row execute function toolplane.notify_change('account_tool_environment_id');
create trigger notify_change after update on public.account_tool_instances
    for each row when (
        (
            old.tool_catalog_id, old.instance_name, old.version_to_run, old.actual_running_version, old.status,
            old.config_values_override, old.runtime_details, old.error_message, old.desired_state, old.paused, old.generation,
            old.observed_generation, old.conditions
        ) is distinct from (
            new.tool_catalog_id, new.instance_name, new.version_to_run, new.actual_running_version, new.status,
            new.config_values_override, new.runtime_details, new.error_message, new.desired_state, new.paused, new.generation,
            new.observed_generation, new.conditions
        )
    ) execute function toolplane.notify_change('account_tool_environment_id');

create trigger notify_change after insert or delete or update on public.provisioning_intents
    for each row execute function toolplane.notify_change('environment_id');
create trigger notify_change after insert or delete or update on public.environment_tombstones
    for each row execute function toolplane.notify_change('environment_id');
create trigger notify_change after insert or delete or update on public.desired_sets
    for each row execute function toolplane.notify_change('environment_id');
create trigger notify_change after insert or delete or update on public.environment_firewalls
    for each row execute function toolplane.notify_change('environment_id');

create trigger notify_presence after insert or delete on public.agent_reports
    for each row execute function toolplane.notify_change('environment_id');
create trigger notify_change after update on public.agent_reports
    for each row when (
        (old.epoch, old.boot_id, old.applied_epoch, old.applied_generation, old.agent_version, old.instances)
        is distinct from
        (new.epoch, new.boot_id, new.applied_epoch, new.applied_generation, new.agent_version, new.instances)
    ) execute function toolplane.notify_change('environment_id');
