use super::*;
use jiff::SignedDuration;
use model::{
    CatalogId, ConditionStatus, DropletId, EnvironmentDesiredState, EnvironmentPhase, EnvironmentSpec, EnvironmentStatus,
    InstanceDesiredState, InstancePhase, InstanceSpec, InstanceStatus,
    catalog::{CatalogStatus, PackagingType, VersionInfo},
};
use serde_json::json;

fn now() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

fn ago(seconds: i64) -> Timestamp {
    now() - SignedDuration::from_secs(seconds)
}

fn id<T: From<uuid::Uuid>>(number: u128) -> T {
    uuid::Uuid::from_u128(number).into()
}

/// One that is well, one that is waiting for its droplet.
pub(in crate::commands) fn environments() -> Listing {
    let spec = EnvironmentSpec {
        user_id: id(0x11),
        region: "nyc3".into(),
        size: "s-1vcpu-1gb".into(),
        image: "ubuntu-22-04-x64".into(),
        desired_state: EnvironmentDesiredState::Active,
        paused: false,
    };
    let mut status = EnvironmentStatus {
        phase: EnvironmentPhase::Active,
        droplet_id: Some(DropletId(3_164_444)),
        ip_address: Some("127.18.52.86".parse().unwrap()),
        observed_generation: 2,
        observed_at: Some(ago(4)),
        ..EnvironmentStatus::default()
    };
    status.conditions.set("Ready", ConditionStatus::True, "Ready", "", 2, ago(60));
    let well = Environment {
        id: id(1),
        generation: 2,
        spec: spec.clone(),
        status,
        last_heartbeat_at: Some(ago(7)),
        created_at: ago(300),
        updated_at: ago(4),
    };
    let mut waiting = EnvironmentStatus {
        phase: EnvironmentPhase::Creating,
        observed_generation: 1,
        observed_at: Some(ago(200)),
        ..EnvironmentStatus::default()
    };
    let message = "droplet 17 is booting";
    waiting
        .conditions
        .set("Ready", ConditionStatus::False, "DropletBooting", message, 1, ago(60));
    let waiting = Environment {
        id: id(2),
        generation: 1,
        spec: EnvironmentSpec {
            user_id: id(0x12),
            paused: true,
            ..spec
        },
        status: waiting,
        last_heartbeat_at: None,
        created_at: ago(90_000),
        updated_at: ago(4),
    };
    Listing::Environments(vec![well, waiting])
}

/// One that is being upgraded, one of which nothing is known yet.
pub(in crate::commands) fn instances() -> Listing {
    let spec = InstanceSpec {
        environment_id: id(1),
        catalog_id: id(3),
        instance_name: Some("main".to_owned()),
        version_to_run: "1.1.0".to_owned(),
        config_values_override: json!({"memory_mb": 64}),
        desired_state: InstanceDesiredState::Running,
        paused: false,
    };
    let mut status = InstanceStatus {
        phase: InstancePhase::Running,
        actual_running_version: Some("1.0.0".to_owned()),
        runtime_details: json!({"port": 31000, "restarts": 1, "endpoint": "https://127.18.52.86:31000/mcp",
            "container_id": "0123456789abcdef0123456789abcdef"}),
        observed_generation: 1,
        observed_at: Some(ago(3)),
        ..InstanceStatus::default()
    };
    status.conditions.set("Ready", ConditionStatus::True, "Ready", "", 1, ago(60));
    let upgrading = Instance {
        id: id(4),
        generation: 2,
        spec: spec.clone(),
        status,
        created_at: ago(200),
        updated_at: ago(3),
    };
    let fresh = Instance {
        id: id(5),
        generation: 1,
        spec: InstanceSpec {
            instance_name: None,
            catalog_id: id(9),
            ..spec
        },
        status: InstanceStatus::default(),
        created_at: ago(1),
        updated_at: ago(1),
    };
    Listing::Instances(vec![upgrading, fresh], vec![tool()])
}

fn tool() -> CatalogEntry {
    CatalogEntry {
        id: CatalogId(uuid::Uuid::from_u128(3)),
        tool_name: "Reasoning MCP Server".to_owned(),
        description: Some("Thinks in steps".to_owned()),
        packaging_type: PackagingType::DockerImage,
        package_identifier: "agentopia/reasoning-mcp-server".to_owned(),
        version_info: VersionInfo {
            available_versions: vec!["1.0.0".to_owned(), "1.1.0".to_owned()],
            default_version: "1.1.0".to_owned(),
            version_details: std::collections::BTreeMap::new(),
        },
        default_config_template: model::container::ContainerDefaults::default(),
        required_secrets_schema: Vec::new(),
        resource_requirements: json!({}),
        status: CatalogStatus::Available,
    }
}

#[test]
fn tables() {
    let mut shown = Vec::new();
    for listing in [
        environments(),
        instances(),
        Listing::Catalog(vec![tool()]),
        Listing::Catalog(Vec::new()),
    ] {
        for output in [Output::Table, Output::Wide, Output::Name] {
            shown.push(format!("== {output:?}\n{}", render(&listing, output, now())));
        }
    }
    insta::assert_snapshot!(shown.join("\n\n"));
}

#[test]
fn documents() {
    let one = Listing::Catalog(vec![tool()]);
    let shown = [
        render(&one, Output::Json, now()),
        render(&environments(), Output::Json, now()),
        render(&instances(), Output::Yaml, now()),
    ];
    insta::assert_snapshot!(shown.join("\n\n"));
}

#[test]
fn what_get_prints_as_yaml_apply_reads() {
    let mut text = render(&Listing::Catalog(vec![tool()]), Output::Yaml, now());
    for listing in [environments(), instances()] {
        text = format!("{text}\n---\n{}", render(&listing, Output::Yaml, now()));
    }
    let manifests = crate::manifests::parse(&[crate::manifests::Source::new("get.yaml", &text)]).unwrap();
    assert_eq!(manifests.len(), 5);
}

#[test]
fn names_and_ids_select() {
    let mut listing = instances();
    listing.keep("main");
    assert!(matches!(&listing, Listing::Instances(rows, _) if rows.len() == 1));
    let mut listing = environments();
    listing.keep("00000000-0000-0000-0000-000000000012");
    assert!(matches!(&listing, Listing::Environments(rows) if rows[0].id == id(2)));
    listing.keep("nobody");
    assert!(listing.is_empty());
}

#[test]
fn the_beginning_of_an_id_selects_unless_it_is_too_short_or_somebodys_name() {
    let kept = |mut listing: Listing, name: &str| {
        listing.keep(name);
        render(&listing, Output::Name, now())
    };
    let Listing::Instances(mut rows, catalog) = instances() else {
        panic!("another listing")
    };
    rows[0].id = "ABCD0000-0000-0000-0000-000000000000".parse().unwrap();
    rows[1].spec.instance_name = Some("abcd1".to_owned());
    let listing = Listing::Instances(rows.clone(), catalog.clone());
    let (first, second) = (
        format!("accounttoolinstance/{}", rows[0].id),
        format!("accounttoolinstance/{}", rows[1].id),
    );
    assert_eq!(kept(listing.clone(), "abcd"), first);
    assert_eq!(kept(listing.clone(), "ABCD0000-"), first, "in either case");
    assert_eq!(kept(listing.clone(), "abcd1"), second, "a name wins");
    assert_eq!(kept(listing.clone(), "abc"), "");
    assert_eq!(kept(environments(), "00000000").lines().count(), 2, "all that begin so");
}

#[test]
fn what_is_not_there_is_named_with_how_to_find_it() {
    let told: Vec<String> = [Kind::Environments, Kind::Instances, Kind::Catalog]
        .into_iter()
        .flat_map(|kind| ["nope", "abc"].map(|name| Unknown::new(kind, name)))
        .map(|unknown| format!("{unknown}\n  help: {}", miette::Diagnostic::help(&unknown).unwrap()))
        .collect();
    insta::assert_snapshot!(told.join("\n"));
}
