//! The walk over every role, table, column and verb. Each verb is tried as the role itself: `explain` checks the privileges of
//! the statement that it explains, and runs nothing.

use crate::{
    migrations::supabase,
    support::{Scene, become_role, connect},
};
use sqlx::{AssertSqlSafe, PgConnection};
use std::fmt::Write;

const ROLES: [&str; 4] = ["anon", "authenticated", "service_role", "toolplane_controller"];

/// `s`elect, `i`nsert, `u`pdate by column; `d`elete, and in capitals `T`runcate, `R`eferences, tri`G`ger, by table.
const EXPECTED: &str = include_str!("privileges.txt");

async fn walk(scene: &Scene, tables: &str) -> String {
    let mut connection = scene.admin.acquire().await.unwrap();
    let mut report = String::from("table column | anon | authenticated | service_role | toolplane_controller\n");
    for table in scene.read(tables).await {
        let mut cells = Vec::new();
        for role in ROLES {
            let mut verbs = String::new();
            if allowed(&mut connection, role, &format!("delete from {table}")).await {
                verbs.push('d');
            }
            for (letter, verb) in [('T', "truncate"), ('R', "references"), ('G', "trigger")] {
                let granted = scene
                    .read(format!("select has_table_privilege('{role}', '{table}', '{verb}')::text"))
                    .await;
                if granted == ["true"] {
                    verbs.push(letter);
                }
            }
            cells.push(verbs);
        }
        line(&mut report, &table, "(rows)", &cells);
        let columns = scene
            .read(format!(
                "select quote_ident(attname) from pg_attribute where attrelid = '{table}'::regclass and attnum > 0 order by attnum"
            ))
            .await;
        for column in columns {
            let mut cells = Vec::new();
            for role in ROLES {
                let mut verbs = String::new();
                for (letter, statement) in [
                    ('s', format!("select {column} from {table}")),
                    ('i', format!("insert into {table} ({column}) values (default)")),
                    ('u', format!("update {table} set {column} = default")),
                ] {
                    if allowed(&mut connection, role, &statement).await {
                        verbs.push(letter);
                    }
                }
                cells.push(verbs);
            }
            line(&mut report, &table, &column, &cells);
        }
    }
    report
}

fn line(report: &mut String, table: &str, column: &str, cells: &[String]) {
    let cells: Vec<&str> = cells.iter().map(|cell| if cell.is_empty() { "-" } else { cell }).collect();
    writeln!(report, "{table} {column} | {}", cells.join(" | ")).unwrap();
}

async fn allowed(connection: &mut PgConnection, role: &str, statement: &str) -> bool {
    sqlx::raw_sql("begin").execute(&mut *connection).await.unwrap();
    become_role(connection, role, "").await;
    let explained = sqlx::raw_sql(AssertSqlSafe(format!("explain {statement}")))
        .execute(&mut *connection)
        .await;
    sqlx::raw_sql("rollback").execute(&mut *connection).await.unwrap();
    match explained {
        Ok(_) => true,
        Err(error) => {
            let code = error.as_database_error().unwrap().code().unwrap().into_owned();
            // 55000: a view with a union takes no writes from anybody.
            assert!(code == "42501" || code == "55000" || code == "0A000", "{statement}: {error}");
            false
        }
    }
}

const OURS: &str = "select oid::regclass::text from pg_class
    where relkind in ('r', 'v') and relnamespace in ('public'::regnamespace, 'toolplane'::regnamespace)
    and relname not in ('migrations', 'agents') order by 1";

#[tokio::test]
async fn each_role_may_do_exactly_this() {
    let scene = Scene::new().await;
    let found = walk(&scene, OURS).await;
    assert_eq!(found.trim(), EXPECTED.trim(), "found:\n{found}");
}

/// A database that hands everything to everybody by default ends up the same.
#[tokio::test]
async fn default_grants_do_not_leak_in() {
    let url = supabase().await;
    connect(&url, None).await.migrate().await.unwrap();
    let scene = Scene::over(url).await;
    let found = walk(&scene, OURS).await;
    assert_eq!(found.trim(), EXPECTED.trim(), "found:\n{found}");
}

/// The stand-ins are for what Supabase has, and are as closed.
#[tokio::test]
async fn the_stand_ins_are_closed_too() {
    let scene = Scene::new().await;
    let found = walk(&scene, "values ('agents'), ('auth.users'), ('toolplane.migrations')").await;
    let expected = "\
table column | anon | authenticated | service_role | toolplane_controller
agents (rows) | - | d | d | -
agents id | - | s | siu | -
agents user_id | - | si | siu | -
agents name | - | siu | siu | -
agents created_at | - | s | siu | -
auth.users (rows) | - | - | d | -
auth.users id | - | - | siu | -
auth.users email | - | - | siu | -
auth.users created_at | - | - | siu | -
toolplane.migrations (rows) | - | - | - | -
toolplane.migrations version | - | - | - | -
toolplane.migrations description | - | - | - | -
toolplane.migrations installed_on | - | - | - | -
toolplane.migrations success | - | - | - | -
toolplane.migrations checksum | - | - | - | -
toolplane.migrations execution_time | - | - | - | -
";
    assert_eq!(found, expected, "found:\n{found}");
}

#[tokio::test]
async fn every_table_has_row_level_security() {
    let scene = Scene::new().await;
    let open = scene
        .read(
            "select relname::text from pg_class
            where relkind = 'r' and relnamespace = 'public'::regnamespace and not relrowsecurity",
        )
        .await;
    assert_eq!(open, Vec::<String>::new());
}
