//! What a document may say: the fields of each kind, named as the columns that they are written to.

use super::{
    problem::Problem,
    source::{Document, Place},
};
use model::{
    EnvironmentDesiredState, InstanceDesiredState,
    catalog::{CatalogStatus, PackagingType, RequiredSecret, VersionInfo},
    container::ContainerDefaults,
};
use serde::{Deserialize, de::DeserializeOwned, de::IgnoredAny};
use serde_saphyr::{Location, Spanned};
use uuid::Uuid;

/// The only version there is.
pub(crate) const API_VERSION: &str = "toolplane.dev/v1";

/// The kinds, as manifests spell them.
const KINDS: [&str; 3] = ["ToolCatalogEntry", "AccountToolEnvironment", "AccountToolInstance"];

/// A document that was understood.
#[derive(Debug)]
pub(crate) struct Manifest {
    document: Document,
    pub(super) name: Spanned<String>,
    pub(super) id: Option<Spanned<Uuid>>,
    pub(crate) object: Object,
}

/// What it speaks of.
#[derive(Debug)]
pub(crate) enum Object {
    CatalogEntry(CatalogEntrySpec),
    Environment(EnvironmentSpec),
    Instance(InstanceSpec),
}

/// `tool_catalog`; `metadata.name` is `tool_name`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CatalogEntrySpec {
    #[serde(default)]
    pub(super) description: Option<String>,
    #[serde(default)]
    pub(super) packaging_type: PackagingType,
    pub(super) package_identifier: Spanned<String>,
    pub(super) version_info: Spanned<VersionInfo>,
    pub(super) default_config_template: Option<Spanned<ContainerDefaults>>,
    #[serde(default)]
    pub(super) required_secrets_schema: Vec<RequiredSecret>,
    #[serde(default)]
    pub(super) resource_requirements: serde_json::Map<String, serde_json::Value>,
    #[serde(default)]
    pub(super) status: CatalogStatus,
}

/// `account_tool_environments`; `metadata.name` is known to the manifests that are applied together, and to nobody else.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EnvironmentSpec {
    pub(super) user_id: Spanned<Uuid>,
    pub(super) region_slug: Spanned<String>,
    pub(super) size_slug: Spanned<String>,
    pub(super) image_slug: Spanned<String>,
    #[serde(default)]
    pub(super) desired_state: EnvironmentDesiredState,
    #[serde(default)]
    pub(super) paused: bool,
}

/// `account_tool_instances`; `metadata.name` is `instance_name`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InstanceSpec {
    /// An environment's name among these manifests, or its id.
    pub(super) environment: Spanned<String>,
    /// A tool's name or id.
    pub(super) tool: Spanned<String>,
    /// The tool's default version unless said.
    pub(super) version_to_run: Option<Spanned<String>>,
    pub(super) config_values_override: Option<Spanned<ContainerDefaults>>,
    #[serde(default)]
    pub(super) desired_state: InstanceDesiredState,
    #[serde(default)]
    pub(super) paused: bool,
}

/// Enough to know what to expect of the rest.
#[derive(Deserialize)]
struct Head {
    #[serde(rename = "apiVersion")]
    api_version: Option<Spanned<String>>,
    kind: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole<S> {
    #[serde(rename = "apiVersion")]
    _api_version: IgnoredAny,
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    metadata: Metadata,
    spec: S,
    /// What `get -o yaml` prints can be applied again; only the specification is.
    #[serde(default, rename = "status")]
    _status: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    name: Spanned<String>,
    id: Option<Spanned<Uuid>>,
    #[serde(default, rename = "generation")]
    _generation: IgnoredAny,
    #[serde(default, rename = "created_at")]
    _created_at: IgnoredAny,
}

impl EnvironmentSpec {
    pub(crate) fn user_id(&self) -> model::UserId {
        self.user_id.value.into()
    }
}

impl Manifest {
    pub(super) fn place(&self, location: Location) -> Place {
        self.document.place(Some(location))
    }

    /// For people, and for `-o name`.
    pub(super) fn title(&self) -> String {
        format!("{}/{}", self.object.kind().to_lowercase(), self.name.value)
    }
}

impl Object {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::CatalogEntry(_) => KINDS[0],
            Self::Environment(_) => KINDS[1],
            Self::Instance(_) => KINDS[2],
        }
    }
}

pub(super) fn parse(document: &Document) -> Result<Manifest, Problem> {
    let head: Head = deserialize(document)?;
    let expected = format!("expected `apiVersion: {API_VERSION}`");
    match &head.api_version {
        Some(version) if version.value == API_VERSION => {}
        Some(version) => {
            let place = document.place(Some(version.referenced));
            return Err(Problem::new(
                &place,
                "apiVersion",
                format!("`{}` is not known", version.value),
                expected,
            ));
        }
        None => return Err(Problem::new(&document.place(None), "apiVersion", "missing", expected)),
    }
    let expected = format!("expected one of {}", KINDS.join(", "));
    let Some(kind) = head.kind else {
        return Err(Problem::new(&document.place(None), "kind", "missing", expected));
    };
    match kind.value.as_str() {
        "ToolCatalogEntry" => whole(document, Object::CatalogEntry),
        "AccountToolEnvironment" => whole(document, Object::Environment),
        "AccountToolInstance" => whole(document, Object::Instance),
        other => {
            let place = document.place(Some(kind.referenced));
            Err(Problem::new(&place, "kind", format!("`{other}` is not known"), expected))
        }
    }
}

fn whole<S: DeserializeOwned>(document: &Document, object: fn(S) -> Object) -> Result<Manifest, Problem> {
    let whole: Whole<S> = deserialize(document)?;
    Ok(Manifest {
        document: document.clone(),
        name: whole.metadata.name,
        id: whole.metadata.id,
        object: object(whole.spec),
    })
}

fn deserialize<T: DeserializeOwned>(document: &Document) -> Result<T, Problem> {
    let mut field = String::new();
    let read = serde_saphyr::with_deserializer_from_str(document.text(), |yaml| {
        serde_path_to_error::deserialize(yaml).map_err(|error| {
            field = path_of(error.path());
            error.into_inner()
        })
    });
    read.map_err(|error| {
        let error = error.without_snippet();
        let place = document.place(error.location());
        // The place is said already, and in lines of the file rather than of the document.
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        Problem::new(&place, &field, message, remedy(message))
    })
}

/// What would be right, where the parser says only what is wrong.
fn remedy(message: &str) -> &'static str {
    if message.contains("expected mapping") {
        "expected fields with their values; `toolplane apply --help` shows a whole manifest"
    } else if message.contains("UUID") {
        "expected a UUID, such as 5f0c2a52-6d2e-4b4e-8f0a-3f1f0a3c9b11"
    } else {
        ""
    }
}

/// `spec.version_info.default_version`; empty for the document itself.
fn path_of(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut text = String::new();
    for segment in path {
        match segment {
            Segment::Map { key } => {
                // The parser's wrapper of values that know their place is none of the reader's business.
                if key != "value" {
                    text = if text.is_empty() {
                        key.clone()
                    } else {
                        format!("{text}.{key}")
                    };
                }
            }
            Segment::Seq { index } => text = format!("{text}[{index}]"),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    text
}
