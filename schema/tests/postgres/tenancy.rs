//! Two accounts in one database.

use crate::support::Scene;
use model::{Event, EventType, UserId};

struct Account {
    user: UserId,
    agent: String,
    instance: String,
    environment: String,
}

async fn account(scene: &Scene) -> Account {
    let user = scene.user().await;
    let environment = scene.environment_of(user).await;
    let instance = scene.instance(environment, "tool").await;
    let agent = scene
        .as_user(
            user,
            &format!("insert into agents (user_id, name) values ('{user}', 'a') returning id::text"),
        )
        .await
        .unwrap()
        .remove(0);
    scene
        .as_user(
            user,
            &format!(
                "insert into agent_tool_instance_links (agent_id, account_tool_instance_id) values ('{agent}', '{instance}')"
            ),
        )
        .await
        .unwrap();
    scene
        .controller
        .event_record(&Event {
            environment_id: Some(environment),
            instance_id: None,
            kind: EventType::Normal,
            reason: "Tested".to_owned(),
            message: String::new(),
            actor: "test".to_owned(),
            cause: "test".to_owned(),
        })
        .await
        .unwrap();
    Account {
        user,
        agent,
        instance: instance.to_string(),
        environment: environment.to_string(),
    }
}

const TABLES: [&str; 5] = [
    "account_tool_environments",
    "account_tool_instances",
    "agent_tool_instance_links",
    "agents",
    "reconcile_events",
];

#[tokio::test]
async fn an_account_sees_and_changes_its_own_rows_only() {
    let scene = Scene::new().await;
    let (one, two) = (account(&scene).await, account(&scene).await);
    for table in TABLES {
        for account in [&one, &two] {
            let seen = scene
                .as_user(account.user, &format!("select count(*)::text from {table}"))
                .await
                .unwrap();
            assert_eq!(seen, ["1"], "{table}");
        }
        let all = scene
            .as_role("service_role", None, &format!("select count(*)::text from {table}"))
            .await
            .unwrap();
        assert_eq!(all, ["2"], "{table}");
    }
    // Whole-table writes reach the own rows only.
    for (table, set) in [
        ("account_tool_environments", "paused = true"),
        ("account_tool_instances", "paused = true"),
        ("agent_tool_instance_links", "link_activated_at = now()"),
    ] {
        let changed = scene
            .as_user(one.user, &format!("update {table} set {set} returning id::text"))
            .await
            .unwrap();
        assert_eq!(changed.len(), 1, "{table}");
    }
    assert_eq!(
        scene
            .read("select count(*)::text from account_tool_instances where paused")
            .await,
        ["1"]
    );
    for table in [
        "agent_tool_instance_links",
        "account_tool_instances",
        "account_tool_environments",
    ] {
        let deleted = scene
            .as_user(one.user, &format!("delete from {table} returning id::text"))
            .await
            .unwrap();
        assert_eq!(deleted.len(), 1, "{table}");
        assert_eq!(
            scene.read(format!("select count(*)::text from {table}")).await,
            ["1"],
            "{table}"
        );
    }
}

#[tokio::test]
async fn nothing_can_be_put_into_another_account() {
    let scene = Scene::new().await;
    let (one, two) = (account(&scene).await, account(&scene).await);
    let third = scene.user().await;
    let (tool, denied) = (scene.tool().await, "row-level security");
    let forged = [
        format!(
            "insert into account_tool_environments (user_id, region_slug, size_slug, image_slug)
            values ('{third}', 'nyc3', 's-1vcpu-1gb', 'ubuntu-22-04-x64')"
        ),
        format!(
            "insert into account_tool_instances (account_tool_environment_id, tool_catalog_id, version_to_run)
            values ('{}', '{tool}', '1')",
            two.environment
        ),
        format!("insert into agents (user_id, name) values ('{}', 'spy')", two.user),
    ];
    for statement in forged {
        let refusal = scene.as_user(one.user, &statement).await.unwrap_err();
        assert!(refusal.message.contains(denied), "{statement}: {refusal}");
    }
    // Links across accounts: refused to users and to the service alike, in both directions.
    for (agent, instance) in [(&one.agent, &two.instance), (&two.agent, &one.instance)] {
        let link = format!(
            "insert into agent_tool_instance_links (agent_id, account_tool_instance_id) values ('{agent}', '{instance}')"
        );
        scene.as_user(one.user, &link).await.unwrap_err();
        let refusal = scene.as_role("service_role", None, &link).await.unwrap_err();
        assert!(refusal.message.contains("do not belong to one account"), "{refusal}");
    }
}

#[tokio::test]
async fn without_a_user_there_is_nothing_to_see() {
    let scene = Scene::new().await;
    account(&scene).await;
    for table in TABLES {
        let seen = scene
            .as_role("authenticated", None, &format!("select count(*)::text from {table}"))
            .await
            .unwrap();
        assert_eq!(seen, ["0"], "{table}");
        let refusal = scene
            .as_role("anon", None, &format!("select count(*)::text from {table}"))
            .await
            .unwrap_err();
        assert!(refusal.message.contains("permission denied"), "{refusal}");
    }
}

#[tokio::test]
async fn an_archived_tool_is_seen_by_those_who_use_it() {
    let scene = Scene::new().await;
    let user = account(&scene).await.user;
    let other = scene.user().await;
    let count = "select count(*)::text from tool_catalog";
    assert_eq!(scene.as_user(other, count).await.unwrap(), ["1"]);
    scene.sql("update tool_catalog set status = 'archived'").await;
    assert_eq!(scene.as_user(other, count).await.unwrap(), ["0"]);
    assert_eq!(scene.as_user(user, count).await.unwrap(), ["1"]);
}
