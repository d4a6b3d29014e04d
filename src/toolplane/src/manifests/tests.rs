use super::*;
use miette::{GraphicalReportHandler, GraphicalTheme};
use schema::Change;

const EXAMPLE: &str = "\
apiVersion: toolplane.dev/v1
kind: ToolCatalogEntry
metadata: {name: Echo}
spec:
  package_identifier: acme/echo
  version_info: {available_versions: [\"1\", \"2\"], default_version: \"1\"}
---
# the account
apiVersion: toolplane.dev/v1
kind: AccountToolEnvironment
metadata: {name: example}
spec:
  user_id: 5f0c2a52-6d2e-4b4e-8f0a-3f1f0a3c9b11
  region_slug: nyc3
  size_slug: s-1vcpu-1gb
  image_slug: ubuntu-22-04-x64
---
apiVersion: toolplane.dev/v1
kind: AccountToolInstance
metadata: {name: main}
spec: {environment: example, tool: Echo, config_values_override: {memory_mb: 64}}
";

/// As a person sees it, without colours.
fn shown(problems: &Problems) -> String {
    let mut text = String::new();
    GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor())
        .with_width(140)
        .render_report(&mut text, problems)
        .unwrap();
    text
}

fn refusal(text: &str, known: &Known) -> String {
    let problems = match parse(&[Source::new("example.yaml", text)]) {
        Ok(manifests) => resolve(&manifests, known).unwrap_err(),
        Err(problems) => problems,
    };
    shown(&problems)
}

#[test]
fn the_example_resolves_in_order() {
    let mut backwards: Vec<&str> = EXAMPLE.split("---\n").collect();
    backwards.reverse();
    let manifests = parse(&[Source::new("example.yaml", &backwards.join("---\n"))]).unwrap();
    let resolved = resolve(&manifests, &Known::default()).unwrap();
    let titles: Vec<&str> = resolved.iter().map(|resolved| resolved.title.as_str()).collect();
    assert_eq!(
        titles,
        [
            "toolcatalogentry/Echo",
            "accounttoolenvironment/example",
            "accounttoolinstance/main"
        ]
    );
    let [
        Change::CatalogEntry(entry),
        Change::Environment(environment, _),
        Change::Instance(_, instance),
    ] = [&resolved[0].change, &resolved[1].change, &resolved[2].change]
    else {
        panic!("other changes: {resolved:?}")
    };
    assert_eq!((instance.environment_id, instance.catalog_id), (*environment, entry.id));
    assert_eq!(instance.version_to_run, "1", "the catalog's default");
    assert_eq!(instance.config_values_override, serde_json::json!({"memory_mb": 64}));
}

#[test]
fn rows_that_are_there_are_found_again() {
    let manifests = parse(&[Source::new("example.yaml", EXAMPLE)]).unwrap();
    let first = resolve(&manifests, &Known::default()).unwrap();
    let mut known = Known::default();
    for resolved in &first {
        match &resolved.change {
            Change::CatalogEntry(entry) => known.catalog.push(entry.clone()),
            Change::Environment(id, spec) => known.environments.push(model::Environment {
                id: *id,
                generation: 1,
                spec: spec.clone(),
                status: model::EnvironmentStatus::default(),
                last_heartbeat_at: None,
                created_at: jiff::Timestamp::UNIX_EPOCH,
                updated_at: jiff::Timestamp::UNIX_EPOCH,
            }),
            Change::Instance(id, spec) => known.instances.push(model::Instance {
                id: *id,
                generation: 1,
                spec: spec.clone(),
                status: model::InstanceStatus::default(),
                created_at: jiff::Timestamp::UNIX_EPOCH,
                updated_at: jiff::Timestamp::UNIX_EPOCH,
            }),
        }
    }
    let again = resolve(&manifests, &known).unwrap();
    for (first, again) in first.iter().zip(&again) {
        assert_eq!(format!("{first:?}"), format!("{again:?}"));
    }
}

#[test]
fn what_a_document_says_wrongly_is_shown_where_it_says_so() {
    let cases = [
        ("no such field", EXAMPLE.replace("size_slug:", "size:")),
        ("a field too few", EXAMPLE.replace("  size_slug: s-1vcpu-1gb\n", "")),
        ("a wrong type", EXAMPLE.replace("5f0c2a52-6d2e-4b4e-8f0a-3f1f0a3c9b11", "me")),
        (
            "not on the list of container settings",
            EXAMPLE.replace("memory_mb: 64", "privileged: true"),
        ),
        ("another version", EXAMPLE.replacen("toolplane.dev/v1", "toolplane.dev/v2", 1)),
        ("another kind", EXAMPLE.replace("kind: AccountToolInstance", "kind: Pod")),
        ("no kind", EXAMPLE.replace("kind: AccountToolInstance\n", "")),
        (
            "no YAML",
            EXAMPLE.replace("metadata: {name: example}", "metadata: {name: example"),
        ),
        ("no manifest", "hello\n".to_owned()),
        ("nothing", "# nothing\n---\n".to_owned()),
    ];
    let shown = cases.map(|(title, text)| format!("== {title}\n{}", refusal(&text, &Known::default())));
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn what_cannot_be_is_refused_field_by_field() {
    let wrong = EXAMPLE
        .replace("acme/echo", "acme/echo:1")
        .replace("default_version: \"1\"", "default_version: \"3\"")
        .replace("nyc3", "new-york")
        .replace("s-1vcpu-1gb", "large")
        .replace("memory_mb: 64", "memory_mb: 1");
    insta::assert_snapshot!(refusal(&wrong, &Known::default()));
}

#[test]
fn references_must_lead_somewhere() {
    let wrong = EXAMPLE.replace("environment: example, tool: Echo", "environment: exmple, tool: Ehco")
        + "---\napiVersion: toolplane.dev/v1\nkind: AccountToolInstance\nmetadata: {name: other}\n\
           spec: {environment: example, tool: Echo, version_to_run: \"3\"}\n"
        + "---\napiVersion: toolplane.dev/v1\nkind: ToolCatalogEntry\nmetadata: {name: Echo}\n\
           spec: {package_identifier: acme/echo, version_info: {available_versions: [\"1\"], default_version: \"1\"}}\n";
    insta::assert_snapshot!(refusal(&wrong, &Known::default()));
}

#[test]
fn regions_sizes_and_images_must_be_offered() {
    let offered = Offered {
        regions: vec!["nyc3".into(), "fra1".into()],
        sizes: [
            ("s-1vcpu-1gb".to_owned(), vec!["fra1".to_owned()]),
            ("s-2vcpu-2gb".to_owned(), vec!["nyc3".to_owned()]),
        ]
        .into(),
        images: vec!["ubuntu-22-04-x64".into(), "debian-12-x64".into()],
    };
    let check = |text: &str| {
        let manifests = parse(&[Source::new("example.yaml", text)]).unwrap();
        check_offered(&manifests, &offered)
    };
    check(&EXAMPLE.replace("nyc3", "fra1")).unwrap();
    let wrong = [
        check(EXAMPLE),
        check(&EXAMPLE.replace("nyc3", "nyc9")),
        check(
            &EXAMPLE
                .replace("s-1vcpu-1gb", "s-1vcpu-9gb")
                .replace("ubuntu-22-04-x64", "ubuntu-21-04-x64"),
        ),
    ];
    insta::assert_snapshot!(wrong.map(|wrong| shown(&wrong.unwrap_err())).join("\n"));
}

#[test]
fn placeholders_are_filled_only_by_those_who_name_them() {
    let text = EXAMPLE.replace("acme/echo", "${REGISTRY}/acme/echo");
    let source = Source::new("example.yaml", &text);
    assert!(parse(std::slice::from_ref(&source)).is_err());
    parse(&[source.substituted([("REGISTRY", "127.0.0.1:5000")])]).unwrap();
}
