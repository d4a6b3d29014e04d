-- Everything that the control plane knows of an environment, as one row: what reflectors hold. Security invoker, so that the
-- reader's own privileges and policies count. Enums come as text, which a reader needs to ask nothing about.
create view toolplane.environment_records with (security_invoker = true) as
select
    environment.id,
    (get_byte(uuid_send(environment.id), 15) % 64)::smallint as shard,
    null::timestamptz as deleted_at,
    environment.user_id,
    environment.do_droplet_id,
    environment.ip_address,
    environment.agent_epoch,
    environment.status::text,
    environment.region_slug,
    environment.size_slug,
    environment.image_slug,
    environment.desired_state::text,
    environment.paused,
    environment.generation,
    environment.observed_generation,
    environment.do_created_at,
    environment.last_heartbeat_at,
    environment.error_message,
    environment.conditions,
    environment.observed_at,
    environment.created_at,
    environment.updated_at,
    intent.id as intent_id,
    intent.kind::text as intent_kind,
    intent.epoch as intent_epoch,
    intent.announced_at as intent_announced_at,
    intent.do_droplet_id as intent_do_droplet_id,
    intent.enrolment_expires_at as intent_enrolment_expires_at,
    intent.enrolled_key as intent_enrolled_key,
    intent.outcome::text as intent_outcome,
    desired.epoch as desired_epoch,
    desired.generation as desired_generation,
    desired.instances as desired_instances,
    report.epoch as report_epoch,
    report.boot_id as report_boot_id,
    report.sequence as report_sequence,
    report.applied_epoch as report_applied_epoch,
    report.applied_generation as report_applied_generation,
    report.agent_version as report_agent_version,
    report.vitals as report_vitals,
    report.instances as report_instances,
    report.received_at as report_received_at,
    firewall.do_firewall_id as firewall_id,
    firewall.announced_at as firewall_announced_at,
    firewall.epoch as firewall_epoch,
    firewall.ports as firewall_ports,
    firewall.closing as firewall_closing,
    firewall.state as firewall_state,
    firewall.reason as firewall_reason,
    firewall.message as firewall_message,
    -- Looking first whether there are any halves the cost of a list of idle environments.
    case when exists (
        select from public.account_tool_instances as instance where instance.account_tool_environment_id = environment.id
    ) then (
        select jsonb_agg(to_jsonb(instance) order by instance.id)
        from public.account_tool_instances as instance
        where instance.account_tool_environment_id = environment.id
    ) end as instances
from public.account_tool_environments as environment
left join public.provisioning_intents as intent on intent.environment_id = environment.id and not intent.superseded
left join public.desired_sets as desired on desired.environment_id = environment.id
left join public.agent_reports as report on report.environment_id = environment.id
left join public.environment_firewalls as firewall on firewall.environment_id = environment.id
union all
select
    tombstone.environment_id,
    (get_byte(uuid_send(tombstone.environment_id), 15) % 64)::smallint,
    tombstone.deleted_at,
    tombstone.user_id,
    tombstone.do_droplet_id,
    tombstone.ip_address,
    tombstone.agent_epoch,
    null, null, null, null, null, null, null, null, null, null, null, null, null, null, null,
    intent.id,
    intent.kind::text,
    intent.epoch,
    intent.announced_at,
    intent.do_droplet_id,
    intent.enrolment_expires_at,
    intent.enrolled_key,
    intent.outcome::text,
    desired.epoch,
    desired.generation,
    desired.instances,
    report.epoch,
    report.boot_id,
    report.sequence,
    report.applied_epoch,
    report.applied_generation,
    report.agent_version,
    report.vitals,
    report.instances,
    report.received_at,
    firewall.do_firewall_id,
    firewall.announced_at,
    firewall.epoch,
    firewall.ports,
    firewall.closing,
    firewall.state,
    firewall.reason,
    firewall.message,
    null
from public.environment_tombstones as tombstone
left join public.provisioning_intents as intent on intent.environment_id = tombstone.environment_id and not intent.superseded
left join public.desired_sets as desired on desired.environment_id = tombstone.environment_id
left join public.agent_reports as report on report.environment_id = tombstone.environment_id
left join public.environment_firewalls as firewall on firewall.environment_id = tombstone.environment_id;

comment on view toolplane.environment_records is 'Each environment or tombstone with its latest intent, desired set, report, firewall and instances.';
do $$
declare
    field text;
begin
    -- One sentence for all: each column is that of the table it is named for.
    for field in
        select attname from pg_catalog.pg_attribute
        where attrelid = 'toolplane.environment_records'::regclass and attnum > 0
    loop
        execute format(
            'comment on column toolplane.environment_records.%I is %L', field,
            case
                when field = 'shard' then 'The last byte of the id modulo 64.'
                when field = 'instances' then 'The rows of account_tool_instances, ordered by id; null without any.'
                when field like 'intent\_%' then 'Of provisioning_intents, the latest.'
                when field like 'desired\_%' and field <> 'desired_state' then 'Of desired_sets.'
                when field like 'report\_%' then 'Of agent_reports.'
                when field like 'firewall\_%' then 'Of environment_firewalls.'
                when field = 'deleted_at' then 'Of environment_tombstones; null for a row that is there.'
                else 'Of account_tool_environments, or of its tombstone.'
            end
        );
    end loop;
end
$$;
