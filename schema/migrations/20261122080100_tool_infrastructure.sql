-- The four tables that users see. Specification columns are what is wanted, and users write them; status columns are what was
-- observed, and only the controller writes them (privileges are in a later file).

create type public.account_environment_status_enum as enum (
    'pending_creation', 'creating', 'active', 'error_creation', 'pending_deletion', 'deleting', 'deleted', 'error_deletion',
    'unresponsive'
);
comment on type public.account_environment_status_enum is 'Where an environment stands.';

create type public.tool_instance_status_enum as enum (
    'pending_start', 'starting', 'running', 'stopping', 'stopped', 'error_runtime', 'pending_removal', 'removed'
);
comment on type public.tool_instance_status_enum is 'Where a tool instance stands.';

create type public.tool_packaging_type_enum as enum ('docker_image');
comment on type public.tool_packaging_type_enum is 'How a tool is packed.';

create type public.catalog_tool_status_enum as enum ('available', 'beta', 'experimental', 'deprecated', 'archived');
comment on type public.catalog_tool_status_enum is 'Whether a tool is offered.';

create type public.environment_desired_state_enum as enum ('active', 'deleted');
comment on type public.environment_desired_state_enum is 'Whether an environment should have a droplet.';

create type public.instance_desired_state_enum as enum ('running', 'stopped', 'removed');
comment on type public.instance_desired_state_enum is 'Whether an instance''s container should run, rest or be gone.';

create function public.trigger_set_timestamp() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    new.updated_at := pg_catalog.now();
    return new;
end
$$;
comment on function public.trigger_set_timestamp() is 'Stamps updated_at.';

-- The catalog. Its JSON is checked strictly: one entry that cannot be understood would be missing for every account.
create table public.tool_catalog (
    id uuid primary key default gen_random_uuid(),
    tool_name text not null unique
        constraint tool_name_is_not_blank check (tool_name ~ '\S' and length(tool_name) <= 200),
    description text,
    developer_org_name text,
    categories text[],
    icon_url text,
    documentation_url text,
    packaging_type public.tool_packaging_type_enum not null default 'docker_image',
    package_identifier text not null
        constraint package_identifier_is_an_image_name_without_tag check (
            length(package_identifier) <= 255
            and package_identifier
                ~ '^([a-z0-9]+([.-][a-z0-9]+)*(:[0-9]+)?/)?[a-z0-9]+(([.]|__?|-+)[a-z0-9]+)*(/[a-z0-9]+(([.]|__?|-+)[a-z0-9]+)*)*$'
        ),
    version_info jsonb not null default '{"available_versions": ["latest"], "default_version": "latest"}'
        constraint version_info_names_versions check ((
            jsonb_typeof(version_info) = 'object'
            and version_info - array['available_versions', 'default_version', 'version_details'] = '{}'
            and jsonb_typeof(version_info -> 'available_versions') = 'array'
            and not version_info -> 'available_versions' @? 'strict $[*] ? (@.type() != "string" || !(@ like_regex "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$"))'
            and jsonb_typeof(version_info -> 'default_version') = 'string'
            and version_info -> 'available_versions' ? (version_info ->> 'default_version')
            and jsonb_typeof(coalesce(version_info -> 'version_details', '{}')) = 'object'
            and not coalesce(version_info -> 'version_details', '{}')
                @? 'strict $.* ? (@.type() != "object" || exists (@.keyvalue() ? (@.key != "package_identifier_override" || @.value.type() != "string")))'
        ) is true),
    default_config_template jsonb default '{}'
        constraint default_config_template_is_on_the_list check (default_config_template is null or (
            jsonb_typeof(default_config_template) = 'object'
            and default_config_template - array[
                'environment', 'arguments', 'container_port', 'memory_mb', 'cpu_millis', 'pids', 'probe', 'stop_grace_seconds'
            ] = '{}'
            and jsonb_typeof(coalesce(default_config_template -> 'environment', '{}')) = 'object'
            and not coalesce(default_config_template -> 'environment', '{}') @? 'strict $.* ? (@.type() != "string")'
            and jsonb_typeof(coalesce(default_config_template -> 'arguments', 'null')) in ('array', 'null')
            and not default_config_template
                @? 'strict $.keyvalue() ? (@.key == "arguments" && @.value.type() == "array").value[*] ? (@.type() != "string")'
            and not default_config_template
                @? 'strict $.keyvalue() ? (@.key == "container_port").value ? (@.type() != "null" && (@.type() != "number" || @ < 1 || @ > 65535 || @.floor() != @))'
            and not default_config_template
                @? 'strict $.keyvalue() ? (@.key == "memory_mb" || @.key == "cpu_millis" || @.key == "pids" || @.key == "stop_grace_seconds").value ? (@.type() != "null" && (@.type() != "number" || @ < 0 || @ > 4294967295 || @.floor() != @))'
            and (
                jsonb_typeof(coalesce(default_config_template -> 'probe', 'null')) = 'null'
                or default_config_template -> 'probe' = '{"type": "tcp"}'
                or (
                    default_config_template #>> '{probe,type}' in ('http', 'mcp')
                    and default_config_template #>> '{probe,path}' like '/%'
                    and (default_config_template -> 'probe') - array['type', 'path'] = '{}'
                )
            )
        ) is true),
    required_secrets_schema jsonb default '[]'
        constraint required_secrets_schema_names_secrets check (required_secrets_schema is null or (
            jsonb_typeof(required_secrets_schema) = 'array'
            and not required_secrets_schema @? 'strict $[*] ? (@.type() != "object")'
            and not required_secrets_schema
                @? 'lax $[*] ? (!exists (@.name ? (@.type() == "string")) || !exists (@.env_var_name ? (@ like_regex "^[A-Za-z_][A-Za-z0-9_]*$")))'
            and not required_secrets_schema
                @? 'lax $[*].keyvalue() ? ((@.key != "name" && @.key != "description" && @.key != "env_var_name") || (@.value.type() != "string" && @.value.type() != "null"))'
        ) is true),
    resource_requirements jsonb default '{}'
        constraint resource_requirements_is_an_object check (jsonb_typeof(resource_requirements) = 'object'),
    status public.catalog_tool_status_enum not null default 'available',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
-- tool_name is indexed by its constraint.
create index tool_catalog_categories_idx on public.tool_catalog using gin (categories);
create index tool_catalog_status_idx on public.tool_catalog (status);

comment on table public.tool_catalog is 'The tools that can be instantiated: packaging, versions, default configuration.';
comment on column public.tool_catalog.id is 'Primary key.';
comment on column public.tool_catalog.tool_name is 'Unique name for people: Reasoning MCP Server.';
comment on column public.tool_catalog.description is 'What the tool does.';
comment on column public.tool_catalog.developer_org_name is 'Who makes it.';
comment on column public.tool_catalog.categories is 'Where it is listed: {mcp_server, reasoning}.';
comment on column public.tool_catalog.icon_url is 'A picture.';
comment on column public.tool_catalog.documentation_url is 'How to use it.';
comment on column public.tool_catalog.packaging_type is 'How it is packed.';
comment on column public.tool_catalog.package_identifier is 'Image name without a tag: agentopia/reasoning-mcp-server.';
comment on column public.tool_catalog.version_info is 'available_versions, default_version and, by version, version_details with a package_identifier_override.';
comment on column public.tool_catalog.default_config_template is 'Container settings that instances start from; only those on the typed list.';
comment on column public.tool_catalog.required_secrets_schema is 'The secrets it cannot run without: [{"name", "description", "env_var_name"}].';
comment on column public.tool_catalog.resource_requirements is 'What a droplet must have: {"min_ram_mb": 512}.';
comment on column public.tool_catalog.status is 'Whether it is offered.';
comment on column public.tool_catalog.created_at is 'When the row was made.';
comment on column public.tool_catalog.updated_at is 'When the row last changed.';

-- One droplet for each account. Rows are updated in place by every heartbeat, so pages keep some room.
create table public.account_tool_environments (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null unique references auth.users (id) on delete cascade,
    do_droplet_id bigint unique constraint do_droplet_id_is_positive check (do_droplet_id > 0),
    ip_address inet,
    status public.account_environment_status_enum not null default 'pending_creation',
    region_slug text not null
        constraint region_slug_is_a_slug check (region_slug ~ '^[a-z0-9][a-z0-9._-]{0,62}$'),
    size_slug text not null
        constraint size_slug_is_a_slug check (size_slug ~ '^[a-z0-9][a-z0-9._-]{0,62}$'),
    image_slug text not null
        constraint image_slug_is_a_slug check (image_slug ~ '^[a-z0-9][a-z0-9._-]{0,62}$'),
    do_created_at timestamptz,
    last_heartbeat_at timestamptz,
    error_message text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    desired_state public.environment_desired_state_enum not null default 'active',
    paused boolean not null default false,
    generation bigint not null default 1,
    observed_generation bigint not null default 0,
    agent_epoch bigint not null default 0 constraint agent_epoch_is_not_negative check (agent_epoch >= 0),
    conditions jsonb not null default '[]'
        constraint conditions_is_an_array check (jsonb_typeof(conditions) = 'array'),
    observed_at timestamptz
) with (fillfactor = 80);
-- user_id and do_droplet_id are indexed by their constraints. What each write changes (updated_at, last_heartbeat_at, conditions) is
-- in no index, not even in the condition of one: such a write would have to touch every index of the table.
create index account_tool_environments_status_idx on public.account_tool_environments (status);

comment on table public.account_tool_environments is 'One shared droplet of one user account: what is wanted and what was observed.';
comment on column public.account_tool_environments.id is 'Primary key; its last byte modulo 64 is the shard.';
comment on column public.account_tool_environments.user_id is 'Specification: the account. One environment each; fixed.';
comment on column public.account_tool_environments.do_droplet_id is 'Status: the droplet at DigitalOcean that this environment owns.';
comment on column public.account_tool_environments.ip_address is 'Status: the droplet''s public IPv4 address.';
comment on column public.account_tool_environments.status is 'Status: where the environment stands. To ask for something, write desired_state.';
comment on column public.account_tool_environments.region_slug is 'Specification: DigitalOcean region, such as nyc3. Fixed once a droplet exists.';
comment on column public.account_tool_environments.size_slug is 'Specification: DigitalOcean size, such as s-1vcpu-1gb. A change resizes in place.';
comment on column public.account_tool_environments.image_slug is 'Specification: DigitalOcean image, such as ubuntu-22-04-x64-docker. Fixed once a droplet exists.';
comment on column public.account_tool_environments.do_created_at is 'Status: when DigitalOcean says that the droplet was created.';
comment on column public.account_tool_environments.last_heartbeat_at is 'Status: when the droplet''s agent was last heard, by the database''s clock.';
comment on column public.account_tool_environments.error_message is 'Status: a sentence for people, in error states.';
comment on column public.account_tool_environments.created_at is 'When the row was made.';
comment on column public.account_tool_environments.updated_at is 'When the row last changed.';
comment on column public.account_tool_environments.desired_state is 'Specification: active (a droplet that runs the tools) or deleted (none).';
comment on column public.account_tool_environments.paused is 'Specification: observe, but change nothing.';
comment on column public.account_tool_environments.generation is 'Rises by one whenever a specification column changes. Kept by a trigger.';
comment on column public.account_tool_environments.observed_generation is 'Status: the generation that the status speaks of.';
comment on column public.account_tool_environments.agent_epoch is 'Status: the epoch of the tokens that the agent must hold; raised by each create.';
comment on column public.account_tool_environments.conditions is 'Status: array of {type, status, reason, message, lastTransitionTime, observedGeneration}.';
comment on column public.account_tool_environments.observed_at is 'Status: when the droplet was last really seen, or seen to be gone.';

create table public.account_tool_instances (
    id uuid primary key default gen_random_uuid(),
    account_tool_environment_id uuid not null references public.account_tool_environments (id) on delete cascade,
    tool_catalog_id uuid not null references public.tool_catalog (id) on delete restrict,
    instance_name text
        constraint instance_name_is_not_blank check (instance_name ~ '\S' and length(instance_name) <= 200),
    version_to_run text not null
        constraint version_to_run_is_a_tag check (version_to_run ~ '^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$'),
    actual_running_version text,
    status public.tool_instance_status_enum not null default 'pending_start',
    config_values_override jsonb default '{}'
        constraint config_values_override_is_an_object check (jsonb_typeof(config_values_override) = 'object'),
    runtime_details jsonb default '{}'
        constraint runtime_details_is_an_object check (jsonb_typeof(runtime_details) = 'object'),
    error_message text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    desired_state public.instance_desired_state_enum not null default 'running',
    paused boolean not null default false,
    generation bigint not null default 1,
    observed_generation bigint not null default 0,
    conditions jsonb not null default '[]'
        constraint conditions_is_an_array check (jsonb_typeof(conditions) = 'array'),
    observed_at timestamptz
) with (fillfactor = 80);
create index account_tool_instances_account_tool_environment_id_idx on public.account_tool_instances (account_tool_environment_id);
create index account_tool_instances_tool_catalog_id_idx on public.account_tool_instances (tool_catalog_id);
create index account_tool_instances_status_idx on public.account_tool_instances (status);

comment on table public.account_tool_instances is 'One tool on an account''s droplet: what is wanted and what was observed.';
comment on column public.account_tool_instances.id is 'Primary key; also in the container''s name and labels.';
comment on column public.account_tool_instances.account_tool_environment_id is 'Specification: the environment whose droplet it runs on. Fixed.';
comment on column public.account_tool_instances.tool_catalog_id is 'Specification: which tool.';
comment on column public.account_tool_instances.instance_name is 'Specification: a name for people, such as My Main Reasoning Server.';
comment on column public.account_tool_instances.version_to_run is 'Specification: a version that the catalog entry offers.';
comment on column public.account_tool_instances.actual_running_version is 'Status: the version that the agent reports.';
comment on column public.account_tool_instances.status is 'Status: where the instance stands. To ask for something, write desired_state.';
comment on column public.account_tool_instances.config_values_override is 'Specification: overrides of the catalog''s default configuration. Never a secret.';
comment on column public.account_tool_instances.runtime_details is 'Status: from the agent: port, container_id, image_digest, endpoint, restarts.';
comment on column public.account_tool_instances.error_message is 'Status: a sentence for people, in error states.';
comment on column public.account_tool_instances.created_at is 'When the row was made.';
comment on column public.account_tool_instances.updated_at is 'When the row last changed.';
comment on column public.account_tool_instances.desired_state is 'Specification: running, stopped (port and volumes kept) or removed.';
comment on column public.account_tool_instances.paused is 'Specification: observe, but change nothing.';
comment on column public.account_tool_instances.generation is 'Rises by one whenever a specification column changes. Kept by a trigger.';
comment on column public.account_tool_instances.observed_generation is 'Status: the generation that the status speaks of.';
comment on column public.account_tool_instances.conditions is 'Status: array of {type, status, reason, message, lastTransitionTime, observedGeneration}.';
comment on column public.account_tool_instances.observed_at is 'Status: the time of the heartbeat that this was read from.';

create table public.agent_tool_instance_links (
    id uuid primary key default gen_random_uuid(),
    agent_id uuid not null references public.agents (id) on delete cascade,
    account_tool_instance_id uuid not null references public.account_tool_instances (id) on delete cascade,
    link_activated_at timestamptz,
    link_deactivated_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    -- Also the index on agent_id, which it starts with.
    unique (agent_id, account_tool_instance_id)
);
create index agent_tool_instance_links_account_tool_instance_id_idx
    on public.agent_tool_instance_links (account_tool_instance_id);

comment on table public.agent_tool_instance_links is 'Which agent may use which tool instance. Both belong to the same account.';
comment on column public.agent_tool_instance_links.id is 'Primary key.';
comment on column public.agent_tool_instance_links.agent_id is 'The agent.';
comment on column public.agent_tool_instance_links.account_tool_instance_id is 'The tool instance.';
comment on column public.agent_tool_instance_links.link_activated_at is 'When the link became active.';
comment on column public.agent_tool_instance_links.link_deactivated_at is 'When the link was made inactive, if it is.';
comment on column public.agent_tool_instance_links.created_at is 'When the row was made.';
comment on column public.agent_tool_instance_links.updated_at is 'When the row last changed.';
