//! What the command line writes.

use crate::support::{Scene, catalog_entry, environment_spec, instance_spec, refused};
use model::{CatalogId, EnvironmentDesiredState, EnvironmentId, InstanceDesiredState, InstanceId, UserId};
use schema::{Applied, Change};

#[tokio::test]
async fn applying_says_what_it_changed() {
    let scene = Scene::new().await;
    let user = UserId::random();
    assert_eq!(scene.service.user_ensure(user).await.unwrap(), Applied::Created);
    assert_eq!(scene.service.user_ensure(user).await.unwrap(), Applied::Unchanged);

    let mut entry = catalog_entry();
    let (tool, applied) = scene.service.apply_catalog_entry(&entry).await.unwrap();
    assert_eq!((tool, applied), (entry.id, Applied::Created));
    assert_eq!(scene.service.catalog_list().await.unwrap(), [entry.clone()]);
    entry.id = CatalogId::random();
    assert_eq!(
        scene.service.apply_catalog_entry(&entry).await.unwrap(),
        (tool, Applied::Unchanged),
        "known by its name"
    );
    entry.version_info.available_versions.push("3".to_owned());
    assert_eq!(
        scene.service.apply_catalog_entry(&entry).await.unwrap(),
        (tool, Applied::Configured)
    );

    let mut spec = environment_spec(user);
    let (id, applied) = scene.service.apply_environment(&spec).await.unwrap();
    assert_eq!(applied, Applied::Created);
    assert_eq!(scene.row(id).await.spec, spec);
    assert_eq!(
        scene.service.apply_environment(&spec).await.unwrap(),
        (id, Applied::Unchanged)
    );
    spec.desired_state = EnvironmentDesiredState::Deleted;
    assert_eq!(
        scene.service.apply_environment(&spec).await.unwrap(),
        (id, Applied::Configured)
    );
    let row = scene.row(id).await;
    assert_eq!((row.spec, row.generation), (spec, 2));

    let mut spec = instance_spec(id, tool, "one");
    let (instance, applied) = scene.service.apply_instance(&spec).await.unwrap();
    assert_eq!(applied, Applied::Created);
    assert_eq!(
        scene.service.apply_instance(&spec).await.unwrap(),
        (instance, Applied::Unchanged)
    );
    spec.desired_state = InstanceDesiredState::Stopped;
    assert_eq!(
        scene.service.apply_instance(&spec).await.unwrap(),
        (instance, Applied::Configured)
    );
    let found = scene.service.instance_list(schema::InstanceFilter::default()).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].id, &found[0].spec, found[0].generation), (instance, &spec, 2));
}

#[tokio::test]
async fn of_two_at_once_one_creates() {
    let scene = Scene::new().await;
    let user = scene.user().await;
    let (environment, entry) = (environment_spec(user), catalog_entry());
    let (one, two) = tokio::join!(
        scene.service.apply_environment(&environment),
        scene.service.apply_environment(&environment)
    );
    let mut applied = [one.unwrap(), two.unwrap()];
    applied.sort_by_key(|(_, applied)| *applied != Applied::Created);
    assert_eq!(applied.map(|(_, applied)| applied), [Applied::Created, Applied::Unchanged]);
    let (one, two) = tokio::join!(
        scene.service.apply_catalog_entry(&entry),
        scene.service.apply_catalog_entry(&entry)
    );
    let (tool, _) = one.unwrap();
    two.unwrap();
    let spec = instance_spec(applied[0].0, tool, "one");
    let calls = (0..4).map(|_| scene.service.apply_instance(&spec));
    for applied in futures::future::join_all(calls).await {
        applied.unwrap();
    }
    assert_eq!(
        scene
            .service
            .instance_list(schema::InstanceFilter::default())
            .await
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn what_is_wrong_is_named_and_nothing_is_written() {
    let scene = Scene::new().await;
    let tool = scene.tool().await;
    let refusal = refused(
        scene
            .service
            .apply_environment(&environment_spec(UserId::random()))
            .await
            .unwrap_err(),
    );
    assert_eq!(refusal.constraint.as_deref(), Some("account_tool_environments_user_id_fkey"));
    let nowhere = instance_spec(EnvironmentId::random(), tool, "one");
    let refusal = refused(scene.service.apply_instance(&nowhere).await.unwrap_err());
    assert_eq!(
        refusal.constraint.as_deref(),
        Some("account_tool_instances_account_tool_environment_id_fkey")
    );
    let id = scene.environment().await;
    let mut nameless = instance_spec(id, tool, "one");
    nameless.instance_name = None;
    let refusal = refused(scene.service.apply_instance(&nameless).await.unwrap_err());
    assert_eq!(refusal.column.as_deref(), Some("instance_name"));
    // Two of one name, as other programs may make them.
    for _ in 0..2 {
        scene.sql(format!("insert into account_tool_instances (account_tool_environment_id, tool_catalog_id, instance_name, version_to_run) values ('{id}', '{tool}', 'twin', '1')")).await;
    }
    let refusal = refused(
        scene
            .service
            .apply_instance(&instance_spec(id, tool, "twin"))
            .await
            .unwrap_err(),
    );
    assert!(refusal.message.contains("names 2 instances"), "{refusal}");
    assert_eq!(scene.read("select count(*)::text from account_tool_instances").await, ["2"]);
    // Specification is not the controller's to write.
    let refusal = refused(
        scene
            .controller
            .apply_environment(&environment_spec(UserId::random()))
            .await
            .unwrap_err(),
    );
    assert!(refusal.message.contains("permission denied"), "{refusal}");
}

#[tokio::test]
async fn changes_are_made_together_or_not_at_all() {
    let scene = Scene::new().await;
    let user = scene.user().await;
    let (id, entry) = (EnvironmentId::random(), catalog_entry());
    let mut changes = vec![
        Change::CatalogEntry(entry.clone()),
        Change::Environment(id, environment_spec(user)),
        Change::Instance(InstanceId::random(), instance_spec(id, entry.id, "one")),
    ];
    let count = "select ((select count(*) from tool_catalog) + (select count(*) from account_tool_environments)
        + (select count(*) from account_tool_instances))::text";
    let tried = scene.service.apply(&changes, true).await.unwrap();
    assert_eq!(tried, [Applied::Created; 3]);
    assert_eq!(scene.read(count).await, ["0"], "a dry run");

    changes.push(Change::Instance(
        InstanceId::random(),
        instance_spec(id, CatalogId::random(), "two"),
    ));
    for dry_run in [true, false] {
        let error = scene.service.apply(&changes, dry_run).await.unwrap_err();
        assert_eq!(error.index, 3);
        let constraint = refused(error.error).constraint;
        assert_eq!(constraint.as_deref(), Some("account_tool_instances_tool_catalog_id_fkey"));
        assert_eq!(scene.read(count).await, ["0"]);
    }
    changes.pop();
    assert_eq!(scene.service.apply(&changes, false).await.unwrap(), [Applied::Created; 3]);
    assert_eq!(scene.service.apply(&changes, false).await.unwrap(), [Applied::Unchanged; 3]);
    assert_eq!(scene.row(id).await.spec, environment_spec(user));
}
