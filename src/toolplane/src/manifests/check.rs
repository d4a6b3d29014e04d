//! What can be told of a manifest by itself.

use super::{
    document::{CatalogEntrySpec, EnvironmentSpec, InstanceSpec, Manifest, Object},
    problem::{Problem, Problems},
};
use model::{
    catalog::VersionInfo,
    container::{ContainerDefaults, Probe},
};
use serde_saphyr::{Location, Spanned};

/// Reports mistakes of one manifest, each by its field.
struct Report<'a> {
    manifest: &'a Manifest,
    problems: &'a mut Problems,
}

impl Report<'_> {
    fn wrong(&mut self, location: Location, field: &str, message: impl std::fmt::Display, help: &str) {
        let place = self.manifest.place(location);
        self.problems.push(Problem::new(&place, field, message, help));
    }

    fn require(&mut self, right: bool, value: &Spanned<String>, field: &str, help: &str) {
        if !right {
            self.wrong(value.referenced, field, format!("`{}` cannot be right", value.value), help);
        }
    }
}

pub(super) fn check(manifest: &Manifest, problems: &mut Problems) {
    let mut report = Report { manifest, problems };
    let name = &manifest.name;
    let right = !name.value.trim().is_empty() && name.value.chars().count() <= 200;
    report.require(
        right,
        name,
        "metadata.name",
        "expected 1 to 200 characters that are not all blank",
    );
    match &manifest.object {
        Object::CatalogEntry(spec) => catalog_entry(spec, &mut report),
        Object::Environment(spec) => environment(spec, &mut report),
        Object::Instance(spec) => instance(spec, &mut report),
    }
}

fn catalog_entry(spec: &CatalogEntrySpec, report: &mut Report<'_>) {
    report.require(
        is_image_name(&spec.package_identifier.value),
        &spec.package_identifier,
        "spec.package_identifier",
        "expected an image's name without a tag, such as registry.example/acme/echo; versions are the tags. \
         `--set NAME=VALUE` gives `${NAME}` a value",
    );
    versions(&spec.version_info, report);
    if let Some(secret) = spec
        .required_secrets_schema
        .iter()
        .find(|secret| !is_variable(&secret.env_var_name))
    {
        let message = format!("`{}` is no name of an environment variable", secret.env_var_name);
        report.wrong(
            report.manifest.name.referenced,
            "spec.required_secrets_schema",
            message,
            "expected letters, digits and `_`",
        );
    }
    if let Some(defaults) = &spec.default_config_template {
        container(defaults, "spec.default_config_template", true, report);
    }
}

/// The versions that there are, and what is said of them.
fn versions(info: &Spanned<VersionInfo>, report: &mut Report<'_>) {
    let versions = &info.value.available_versions;
    let at = info.referenced;
    let offered = |version: &String| versions.contains(version);
    if let Some(bad) = versions.iter().find(|version| !is_tag(version)) {
        let help = "expected an image's tag: letters, digits, `_`, `.` and `-`, at most 128";
        report.wrong(
            at,
            "spec.version_info.available_versions",
            format!("`{bad}` cannot be right"),
            help,
        );
    }
    if !offered(&info.value.default_version) {
        let message = format!("`{}` is not among available_versions", info.value.default_version);
        report.wrong(
            at,
            "spec.version_info.default_version",
            message,
            &format!("expected one of {}", listed(versions)),
        );
    }
    if let Some(unknown) = info.value.version_details.keys().find(|version| !offered(version)) {
        let message = format!("`{unknown}` is not among available_versions");
        report.wrong(
            at,
            "spec.version_info.version_details",
            message,
            &format!("expected some of {}", listed(versions)),
        );
    }
}

fn environment(spec: &EnvironmentSpec, report: &mut Report<'_>) {
    for (value, field, example, known) in [
        (
            &spec.region_slug,
            "spec.region_slug",
            "nyc3",
            is_region(&spec.region_slug.value),
        ),
        (
            &spec.size_slug,
            "spec.size_slug",
            "s-1vcpu-1gb",
            is_slug(&spec.size_slug.value) && spec.size_slug.value.contains('-'),
        ),
        (
            &spec.image_slug,
            "spec.image_slug",
            "ubuntu-22-04-x64",
            is_slug(&spec.image_slug.value),
        ),
    ] {
        report.require(
            known,
            value,
            field,
            &format!("expected a slug of DigitalOcean, such as {example}"),
        );
    }
}

fn instance(spec: &InstanceSpec, report: &mut Report<'_>) {
    if let Some(over) = &spec.config_values_override {
        container(over, "spec.config_values_override", false, report);
    }
    if let Some(version) = &spec.version_to_run {
        report.require(
            is_tag(&version.value),
            version,
            "spec.version_to_run",
            "expected a version that the tool's catalog entry offers",
        );
    }
}

fn container(settings: &Spanned<ContainerDefaults>, field: &str, complete: bool, report: &mut Report<'_>) {
    let (at, settings) = (settings.referenced, &settings.value);
    let numbers = [
        ("container_port", settings.container_port.map(u32::from), 1),
        ("memory_mb", settings.memory_mb, 6),
        ("cpu_millis", settings.cpu_millis, 10),
        ("pids", settings.pids, 1),
    ];
    for (name, number, least) in numbers {
        if let Some(number) = number.filter(|number| *number < least) {
            report.wrong(
                at,
                &format!("{field}.{name}"),
                format!("{number} is too little"),
                &format!("expected at least {least}"),
            );
        }
    }
    if let Some(name) = settings.environment.keys().find(|name| !is_variable(name)) {
        let message = format!("`{name}` is no name of an environment variable");
        report.wrong(
            at,
            &format!("{field}.environment"),
            message,
            "expected letters, digits and `_`",
        );
    }
    let Some(probe) = &settings.probe else { return };
    match probe {
        Probe::Tcp => {}
        Probe::Http { path } | Probe::Mcp { path } if path.starts_with('/') => {}
        Probe::Http { path } | Probe::Mcp { path } => {
            report.wrong(
                at,
                &format!("{field}.probe.path"),
                format!("`{path}` is not absolute"),
                "expected a path such as /mcp",
            );
        }
    }
    if complete && settings.container_port.is_none() {
        let help = "expected `container_port`, the port that the tool listens on inside its container";
        report.wrong(at, &format!("{field}.probe"), "there is no port to probe", help);
    }
}

pub(super) fn listed<S: AsRef<str>>(names: &[S]) -> String {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    if names.is_empty() {
        "nothing: there is none".to_owned()
    } else {
        names.join(", ")
    }
}

/// `nyc3`: three letters and a number.
fn is_region(text: &str) -> bool {
    let (letters, digits) = text.split_at_checked(3).unwrap_or((text, ""));
    letters.bytes().all(|byte| byte.is_ascii_lowercase())
        && (1..=2).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_slug(text: &str) -> bool {
    let spelled = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    text.len() <= 63 && text.bytes().all(spelled) && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
}

/// An image's tag.
fn is_tag(text: &str) -> bool {
    let spelled = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    text.len() <= 128
        && text.bytes().all(spelled)
        && text
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn is_variable(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && text.bytes().next().is_some_and(|byte| !byte.is_ascii_digit())
}

/// An image's name without a tag, with or without a registry before it.
fn is_image_name(text: &str) -> bool {
    let part = |part: &str| {
        let spelled = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
        let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        part.bytes().all(spelled) && ends(part.bytes().next()) && ends(part.bytes().last())
    };
    let (registry, rest) = match text.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
        _ => ("", text),
    };
    let registry_is_right = match registry.split_once(':') {
        Some((host, number)) => part(host) && number.parse::<u16>().is_ok(),
        None => registry.is_empty() || part(registry),
    };
    registry_is_right && text.len() <= 255 && rest.split('/').all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings() {
        for good in [
            "echo",
            "acme/echo",
            "127.0.0.1:5000/agentopia/reasoning-mcp-server",
            "ghcr.io/a/b_c.d",
        ] {
            assert!(is_image_name(good), "{good}");
        }
        for bad in [
            "",
            "Acme/echo",
            "acme/echo:1",
            "${REGISTRY}/echo",
            "/echo",
            "acme//echo",
            "host:port/echo",
            "-a",
        ] {
            assert!(!is_image_name(bad), "{bad}");
        }
        assert!(is_region("nyc3") && is_region("sfo12"));
        for bad in ["", "nyc", "NYC3", "new-york", "nyc3a", "ny3"] {
            assert!(!is_region(bad), "{bad}");
        }
        assert!(is_tag("1.0.0") && is_tag("_x") && !is_tag("-1") && !is_tag("") && !is_tag("a b"));
        assert!(is_variable("API_KEY") && !is_variable("1A") && !is_variable("A-B") && !is_variable(""));
    }
}
