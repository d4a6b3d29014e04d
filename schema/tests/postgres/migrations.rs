use crate::support::{Scene, connect};
use schema::Role;
use sqlx::{Connection, PgConnection};

/// What a Supabase project looks like before our migrations: its own users, functions and roles, the product's agents, and
/// default privileges that hand every new table and function to the API's roles.
const SUPABASE: &str = "
    do $$ begin
        if not exists (select from pg_roles where rolname = 'anon') then create role anon nologin noinherit; end if;
        if not exists (select from pg_roles where rolname = 'authenticated') then create role authenticated nologin noinherit; end if;
        if not exists (select from pg_roles where rolname = 'service_role') then create role service_role nologin noinherit; end if;
    exception when duplicate_object or unique_violation then null;
    end $$;
    create schema auth;
    create table auth.users (instance_id uuid, id uuid primary key, aud text, encrypted_password text, email text);
    create function auth.uid() returns uuid language sql stable
        as $$ select (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid $$;
    grant usage on schema auth to anon, authenticated, service_role;
    alter default privileges in schema public grant all on tables to anon, authenticated, service_role;
    alter default privileges in schema public grant all on sequences to anon, authenticated, service_role;
    alter default privileges in schema public grant all on functions to anon, authenticated, service_role;
    create table public.agents (id uuid primary key default gen_random_uuid(), user_id uuid references auth.users (id), instructions text);
";

pub(crate) async fn supabase() -> String {
    let url = cluster::testing::empty_database().await.unwrap();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(SUPABASE).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    url
}

#[tokio::test]
async fn applying_them_twice_changes_nothing() {
    let url = cluster::testing::empty_database().await.unwrap();
    let database = connect(&url, None).await;
    let pending = database.migrations_pending().await.unwrap();
    assert!(
        pending.iter().any(|name| name.ends_with("_tool_infrastructure")),
        "{pending:?}"
    );
    assert_eq!(database.migrate().await.unwrap(), pending);
    assert_eq!(database.migrations_pending().await.unwrap(), Vec::<String>::new());
    assert_eq!(database.migrate().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn two_at_once_apply_them_once() {
    let url = cluster::testing::empty_database().await.unwrap();
    let (one, two) = (connect(&url, None).await, connect(&url, None).await);
    let (first, second) = tokio::join!(one.migrate(), two.migrate());
    first.unwrap();
    second.unwrap();
    assert_eq!(one.migrations_pending().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn on_supabase_what_is_there_stays_as_it_is() {
    let url = supabase().await;
    connect(&url, None).await.migrate().await.unwrap();
    let scene = Scene::over(url).await;
    let columns = scene
        .read("select attname::text from pg_attribute where attrelid = 'auth.users'::regclass and attnum > 0 order by attnum")
        .await;
    assert_eq!(columns, ["instance_id", "id", "aud", "encrypted_password", "email"]);
    let columns = scene
        .read("select attname::text from pg_attribute where attrelid = 'public.agents'::regclass and attnum > 0 order by attnum")
        .await;
    assert_eq!(columns, ["id", "user_id", "instructions"]);
    assert_eq!(
        scene
            .read("select count(*)::text from pg_policy where polrelid = 'public.agents'::regclass")
            .await,
        ["0"]
    );
}

#[tokio::test]
async fn agents_without_an_owner_are_refused_by_name() {
    let url = supabase().await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("alter table public.agents drop column user_id")
        .execute(&mut connection)
        .await
        .unwrap();
    let refused = connect(&url, None).await.migrate().await.unwrap_err().to_string();
    assert!(refused.contains("public.agents has no column user_id"), "{refused}");
}

/// `supabase db push` runs the files and records their versions in a table of its own.
#[tokio::test]
async fn what_the_supabase_command_line_pushed_is_not_applied_again() {
    let url = supabase().await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(
        "create schema supabase_migrations; create table supabase_migrations.schema_migrations (version text primary key)",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    let mut files: Vec<_> = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    for file in &files {
        let sql = std::fs::read_to_string(file).unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
            .execute(&mut connection)
            .await
            .unwrap();
        let name = file.file_stem().unwrap().to_str().unwrap();
        let (version, title) = name.split_once('_').unwrap();
        assert!(
            version.len() == 14 && version.bytes().all(|b| b.is_ascii_digit()) && !title.is_empty(),
            "{name}"
        );
        sqlx::query("insert into supabase_migrations.schema_migrations values ($1), ($1 || '99')")
            .bind(version)
            .execute(&mut connection)
            .await
            .unwrap();
    }
    let database = connect(&url, None).await;
    assert_eq!(database.migrations_pending().await.unwrap(), Vec::<String>::new());
    assert_eq!(database.migrate().await.unwrap(), Vec::<String>::new());
}

/// Every table of ours with its columns, every type, view and function.
#[tokio::test]
async fn everything_has_a_comment() {
    let scene = Scene::new().await;
    let silent = scene
        .read(
            "select format('%s.%s', class.oid::regclass, coalesce(attribute.attname, '(itself)'))
            from pg_class as class
            left join pg_attribute as attribute
                on attribute.attrelid = class.oid and attribute.attnum > 0 and not attribute.attisdropped
            where class.relkind in ('r', 'v')
                and class.relnamespace in ('public'::regnamespace, 'toolplane'::regnamespace, 'auth'::regnamespace)
                and class.oid <> 'toolplane.migrations'::regclass
                and (col_description(class.oid, attribute.attnum) is null or obj_description(class.oid, 'pg_class') is null)
            union all
            select function.oid::regprocedure::text from pg_proc as function
            where function.pronamespace in ('public'::regnamespace, 'toolplane'::regnamespace, 'auth'::regnamespace)
                and obj_description(function.oid, 'pg_proc') is null
            union all
            select type.oid::regtype::text from pg_type as type
            where type.typtype = 'e' and obj_description(type.oid, 'pg_type') is null",
        )
        .await;
    assert_eq!(silent, Vec::<String>::new());
}

#[tokio::test]
async fn functions_are_closed() {
    let scene = Scene::over({
        let url = supabase().await;
        connect(&url, None).await.migrate().await.unwrap();
        url
    })
    .await;
    let ours = "function.pronamespace = 'toolplane'::regnamespace or function.proname = 'trigger_set_timestamp'";
    let count = scene
        .read(format!("select count(*)::text from pg_proc as function where {ours}"))
        .await;
    assert!(count[0].parse::<u32>().unwrap() > 10, "{count:?}");
    let open = scene
        .read(format!(
            "select format('%s for %s', function.oid::regprocedure, role) from pg_proc as function,
                unnest(array['public', 'anon', 'authenticated', 'service_role', 'toolplane_controller']) as role
            where ({ours}) and has_function_privilege(role, function.oid, 'execute')"
        ))
        .await;
    let event_record = "toolplane.event_record(uuid,uuid,reconcile_event_type_enum,text,text,text,text)";
    let requests_free_at = "toolplane.requests_free_at(integer,integer,timestamp with time zone)";
    let requests_take = "toolplane.requests_take(uuid,integer[],integer[],integer[],interval,interval,interval,interval)";
    assert_eq!(
        open,
        [
            format!("{event_record} for service_role"),
            format!("{event_record} for toolplane_controller"),
            format!("{requests_free_at} for toolplane_controller"),
            format!("{requests_take} for toolplane_controller"),
        ]
    );
    let loose = scene
        .read(format!(
            "select function.oid::regprocedure::text from pg_proc as function
            where ({ours}) and not coalesce('search_path=\"\"' = any (function.proconfig), false)"
        ))
        .await;
    assert_eq!(loose, Vec::<String>::new(), "without an empty search path");
}

#[tokio::test]
async fn views_read_with_the_readers_own_privileges() {
    let scene = Scene::new().await;
    let plain = scene
        .read(
            "select oid::regclass::text from pg_class where relkind in ('v', 'm')
            and relnamespace in ('public'::regnamespace, 'toolplane'::regnamespace)
            and not coalesce('security_invoker=true' = any (reloptions), false)",
        )
        .await;
    assert_eq!(plain, Vec::<String>::new());
}

/// The enums of the database and of the program have the same words.
#[tokio::test]
async fn every_enum_is_spelled_as_in_the_model() {
    use model::{catalog, environment, event, instance, intent};
    use serde::de::DeserializeOwned;

    async fn reads<T: DeserializeOwned>(scene: &Scene, name: &str) {
        for word in scene.read(format!("select unnest(enum_range(null::{name}))::text")).await {
            let read = serde_json::from_value::<T>(serde_json::Value::String(word.clone()));
            assert!(read.is_ok(), "{name} {word}");
        }
    }

    let scene = Scene::new().await;
    reads::<environment::EnvironmentPhase>(&scene, "account_environment_status_enum").await;
    reads::<environment::EnvironmentDesiredState>(&scene, "environment_desired_state_enum").await;
    reads::<instance::InstancePhase>(&scene, "tool_instance_status_enum").await;
    reads::<instance::InstanceDesiredState>(&scene, "instance_desired_state_enum").await;
    reads::<catalog::PackagingType>(&scene, "tool_packaging_type_enum").await;
    reads::<catalog::CatalogStatus>(&scene, "catalog_tool_status_enum").await;
    reads::<intent::IntentKind>(&scene, "intent_kind_enum").await;
    reads::<intent::IntentOutcome>(&scene, "intent_outcome_enum").await;
    reads::<event::EventType>(&scene, "reconcile_event_type_enum").await;
}

#[tokio::test]
async fn the_shard_is_the_same_in_sql_and_here() {
    let scene = Scene::new().await;
    for _ in 0..100 {
        let id = model::EnvironmentId::random();
        let shard = scene
            .read(format!("select (get_byte(uuid_send('{id}'), 15) % 64)::text"))
            .await;
        assert_eq!(shard, [id.shard().to_string()]);
    }
}

/// Whoever migrates need not be a superuser: the definer functions of a plain owner work under row-level security too.
#[tokio::test]
async fn a_plain_owner_will_do() {
    let url = cluster::testing::empty_database().await.unwrap();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(
        "do $$ begin
            create role plain_owner login createrole password 'plain';
            execute format('alter database %I owner to plain_owner', current_database());
        end $$",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    let (_, address) = url.split_once('@').unwrap();
    let plain = format!("postgres://plain_owner:plain@{address}");
    connect(&plain, None).await.migrate().await.unwrap();

    let scene = Scene {
        service: connect(&plain, Some(Role::Service)).await,
        controller: connect(&plain, Some(Role::Controller)).await,
        ..Scene::over(url).await
    };
    let user = scene.user().await;
    let id = scene.environment_of(user).await;
    let instance = scene.instance(id, "tool").await;
    let link = format!(
        "insert into agents (user_id, name) values ('{user}', 'a');
        insert into agent_tool_instance_links (agent_id, account_tool_instance_id) select id, '{instance}' from agents"
    );
    scene.as_user(user, &link).await.unwrap();
    scene.record_droplet(id, 17).await;
    scene
        .as_role(
            "plain_owner",
            None,
            "set local request.jwt.claims = ''; delete from auth.users",
        )
        .await
        .unwrap();
    let record = scene.controller.record_get(id).await.unwrap().unwrap();
    assert!(matches!(record.subject, model::Subject::Tombstone(_)));
    let fence = scene.fence(id).await;
    scene.controller.tombstone_finish(&fence, id).await.unwrap();
}
