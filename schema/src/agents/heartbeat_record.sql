with subject as materialized (
    select agent_epoch, true as has_row from account_tool_environments where id = $1
    union all
    select agent_epoch, false from environment_tombstones where environment_id = $1
), previous as materialized (
    select instances from agent_reports where environment_id = $1
), desired as materialized (
    select epoch, generation, instances from desired_sets where environment_id = $1
), reported as materialized (
    select (element ->> 'instance_id')::uuid as id, element, place
    from jsonb_array_elements($9::jsonb) with ordinality as elements (element, place)
), own as materialized (
    select reported.element, reported.place
    from reported
    left join account_tool_instances as instance on instance.id = reported.id
    where case
        when instance.id is not null then instance.account_tool_environment_id = $1
        else exists (select from desired, jsonb_array_elements(desired.instances) as told
                where told ->> 'instance_id' = reported.id::text)
            or exists (select from previous, jsonb_array_elements(previous.instances) as heard
                where heard ->> 'instance_id' = reported.id::text)
    end
), recorded as (
    insert into agent_reports as report (
        environment_id, epoch, boot_id, sequence, applied_epoch, applied_generation, agent_version, vitals, instances
    )
    select $1, $2, $3, $4, $5, $6, $7, $8, (select coalesce(jsonb_agg(element order by place), '[]') from own)
    from subject
    where agent_epoch = $2
    on conflict (environment_id) do update
    set epoch = excluded.epoch,
        boot_id = excluded.boot_id,
        -- Eight boots back: who replays an older one than that has kept it for a while.
        earlier_boots = case
            when report.boot_id = excluded.boot_id then report.earlier_boots
            else (array_prepend(report.boot_id, report.earlier_boots))[:8]
        end,
        sequence = excluded.sequence,
        applied_epoch = excluded.applied_epoch,
        applied_generation = excluded.applied_generation,
        agent_version = excluded.agent_version,
        vitals = excluded.vitals,
        instances = excluded.instances,
        received_at = excluded.received_at
    where report.epoch <= excluded.epoch
        and case
            when report.boot_id = excluded.boot_id then report.sequence < excluded.sequence
            else excluded.boot_id <> all (report.earlier_boots)
        end
    returning received_at
), stamped as (
    update account_tool_environments
    set last_heartbeat_at = recorded.received_at
    from recorded
    where id = $1
)
select
    (select agent_epoch from subject) as current_epoch,
    (select received_at from recorded) as "received_at: Time",
    (select epoch from desired) as desired_epoch,
    (select generation from desired) as desired_generation
