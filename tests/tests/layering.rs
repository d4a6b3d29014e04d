//! The directions in which the workspace's crates import each other, and who may use which outside crate. The table below is the
//! rule (docs/architecture.md has the reasons); this test compares it with what `cargo metadata` says.

#![allow(clippy::unwrap_used)] // clippy takes only functions marked `#[test]` for tests

use serde_json::{Value, json};
use std::{collections::BTreeSet, process::Command};

/// A crate, what it may import, and what its tests may import besides.
type Rule = (&'static str, &'static [&'static str], &'static [&'static str]);

const RULES: &[Rule] = &[
    // What everything stands on: no I/O in `model`, no kind in `runtime`.
    ("model", &[], &[]),
    ("runtime", &[], &[]),
    // What every effect passes.
    ("effects", &[], &[]),
    // The outside world, each part by itself.
    ("digitalocean", &["effects"], &[]),
    ("simulator", &[], &["digitalocean"]),
    ("agent-api", &["effects", "model"], &[]),
    ("cloud-init", &["agent-api"], &[]),
    ("schema", &["effects", "model", "runtime"], &["cluster"]),
    // What the outside looks like, for all reconcilers of it.
    (
        "fleet",
        &["digitalocean", "model", "runtime", "schema"],
        &["cluster", "simulator"],
    ),
    // What users and agents call: rows only, never the cloud or an engine.
    ("api", &["agent-api", "model", "schema"], &["cluster"]),
    ("dashboard", &["model", "schema"], &["cluster"]),
    // The loops: they meet in rows, never in code.
    (
        "environment-reconciler",
        &[
            "agent-api",
            "cloud-init",
            "digitalocean",
            "fleet",
            "model",
            "runtime",
            "schema",
        ],
        &["cluster", "simulator"],
    ),
    (
        "firewall-reconciler",
        &["digitalocean", "fleet", "model", "runtime", "schema"],
        &["cluster", "simulator"],
    ),
    (
        "instance-reconciler",
        &["agent-api", "model", "runtime", "schema"],
        &["cluster"],
    ),
    ("container-reconciler", &["agent-api", "model", "runtime"], &["workbench"]),
    // The wiring of one replica.
    (
        "control-plane",
        &[
            "agent-api",
            "api",
            "dashboard",
            "digitalocean",
            "effects",
            "environment-reconciler",
            "firewall-reconciler",
            "fleet",
            "instance-reconciler",
            "model",
            "runtime",
            "schema",
        ],
        &[],
    ),
    // The binaries: wiring. The agent has no database and no cloud.
    (
        "toolplane",
        &[
            "agent-api",
            "api",
            "cloud-init",
            "cluster",
            "control-plane",
            "digitalocean",
            "effects",
            "environment-reconciler",
            "firewall-reconciler",
            "fleet",
            "instance-reconciler",
            "model",
            "runtime",
            "schema",
            "simulator",
            "workbench",
        ],
        &[],
    ),
    (
        "dtma",
        &["agent-api", "container-reconciler", "model", "runtime"],
        &["effects", "workbench"],
    ),
    ("reasoning-mcp-server", &[], &[]),
    // What the demo and the tests stand on; of no use in production.
    ("cluster", &[], &[]),
    ("workbench", &[], &[]),
    (
        "e2e",
        // A control plane in the test's own process too, to be killed at any effect.
        &[
            "agent-api",
            "api",
            "cluster",
            "control-plane",
            "digitalocean",
            "effects",
            "environment-reconciler",
            "firewall-reconciler",
            "fleet",
            "instance-reconciler",
            "model",
            "runtime",
            "schema",
            "simulator",
            "workbench",
        ],
        &[],
    ),
    (
        "simulation",
        &[
            "container-reconciler",
            "digitalocean",
            "environment-reconciler",
            "firewall-reconciler",
            "fleet",
            "instance-reconciler",
            "model",
            "runtime",
            "schema",
        ],
        &[],
    ),
    (
        "bench-loop",
        &[
            "agent-api",
            "api",
            "cluster",
            "control-plane",
            "digitalocean",
            "effects",
            "environment-reconciler",
            "firewall-reconciler",
            "fleet",
            "instance-reconciler",
            "model",
            "runtime",
            "schema",
            "simulator",
        ],
        &[],
    ),
];

const RECONCILERS: &[&str] = &[
    "container-reconciler",
    "environment-reconciler",
    "firewall-reconciler",
    "instance-reconciler",
];

/// Outside crates that only some may use: SQL has one home, and so has the container engine.
const RESERVED: &[(&str, &[&str])] = &[
    ("sqlx", &["schema"]),
    ("jiff-sqlx", &["schema"]),
    ("bollard", &["container-reconciler", "dtma"]),
];

/// What `cargo metadata` says of the workspace, and what is wrong with it.
struct Workspace {
    packages: Vec<Value>,
}

impl Workspace {
    fn of(metadata: &Value) -> Self {
        Self {
            packages: metadata["packages"].as_array().unwrap().clone(),
        }
    }

    fn violations(&self) -> Vec<String> {
        let mut violations = self.without_rule();
        for package in &self.packages {
            let name = package["name"].as_str().unwrap();
            for dependency in package["dependencies"].as_array().unwrap() {
                let import = dependency["name"].as_str().unwrap();
                let in_tests = dependency["kind"] == "dev";
                violations.extend(self.violation(name, import, in_tests));
            }
        }
        violations
    }

    fn violation(&self, name: &str, import: &str, in_tests: bool) -> Option<String> {
        let reserved = RESERVED.iter().find(|(outside, _)| *outside == import);
        if let Some((_, users)) = reserved {
            let allowed = users.contains(&name);
            return (!allowed).then(|| format!("{name} uses {import}, which only {} may", users.join(" and ")));
        }
        let imported = self.packages.iter().find(|package| package["name"] == import)?;
        if RECONCILERS.contains(&name) && RECONCILERS.contains(&import) {
            return Some(format!("{name} imports {import}: reconcilers meet in rows, never in code"));
        }
        if !has_library(imported) {
            return Some(format!("{name} imports {import}, which is a binary"));
        }
        let (_, imports, in_tests_too) = RULES.iter().find(|(rule, ..)| *rule == name)?;
        let allowed = imports.contains(&import) || in_tests && in_tests_too.contains(&import);
        (!allowed).then(|| {
            let tests = if in_tests { " in its tests" } else { "" };
            format!("{name} imports {import}{tests}, but may only import [{}]", imports.join(", "))
        })
    }

    /// Crates and rules that don't know of each other.
    fn without_rule(&self) -> Vec<String> {
        let names: BTreeSet<&str> = self.packages.iter().filter_map(|package| package["name"].as_str()).collect();
        let rules: BTreeSet<&str> = RULES.iter().map(|(name, ..)| *name).collect();
        let without = names
            .difference(&rules)
            .map(|name| format!("{name} has no rule in {}", file!()));
        let gone = rules
            .difference(&names)
            .map(|name| format!("{name} has a rule, but there is no such crate"));
        without.chain(gone).collect()
    }
}

fn has_library(package: &Value) -> bool {
    let targets = package["targets"].as_array().unwrap();
    targets
        .iter()
        .any(|target| target["kind"].as_array().unwrap().contains(&json!("lib")))
}

fn metadata() -> Value {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version=1",
            "--no-deps",
            "--offline",
            "--manifest-path",
            manifest,
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn every_import_goes_in_an_allowed_direction() {
    let violations = Workspace::of(&metadata()).violations();
    assert!(
        violations.is_empty(),
        "imports against the rules:\n  {}",
        violations.join("\n  ")
    );
}

#[test]
fn imports_against_the_rules_are_told() {
    let mut metadata = metadata();
    let mut import = |name: &str, import: &str, kind: Value| {
        let packages = metadata["packages"].as_array_mut().unwrap();
        let package = packages.iter_mut().find(|package| package["name"] == name).unwrap();
        let dependencies = package["dependencies"].as_array_mut().unwrap();
        dependencies.push(json!({"name": import, "kind": kind}));
    };
    import("firewall-reconciler", "environment-reconciler", Value::Null);
    import("api", "digitalocean", Value::Null);
    import("api", "cluster", Value::Null);
    import("runtime", "model", json!("dev"));
    import("e2e", "dtma", Value::Null);
    import("e2e", "sqlx", json!("dev"));
    import("toolplane", "bollard", json!("build"));
    metadata["packages"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "newcomer", "dependencies": [], "targets": []}));

    let violations = Workspace::of(&metadata).violations();
    let expected = [
        "newcomer has no rule in ",
        "api imports digitalocean, but may only import [agent-api, model, schema]",
        "api imports cluster, but may only import",
        "e2e imports dtma, which is a binary",
        "e2e uses sqlx, which only schema may",
        "firewall-reconciler imports environment-reconciler: reconcilers meet in rows, never in code",
        "runtime imports model in its tests, but may only import []",
        "toolplane uses bollard, which only container-reconciler and dtma may",
    ];
    for text in expected {
        assert!(
            violations.iter().any(|violation| violation.starts_with(text)),
            "{text} is not in {violations:#?}"
        );
    }
    assert_eq!(violations.len(), expected.len(), "{violations:#?}");
}
