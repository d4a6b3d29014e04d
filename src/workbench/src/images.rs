//! Images packed from scratch around one static binary.

use crate::{Engine, Error, Registry};
use std::path::Path;

/// The name under which the example tool is published.
pub const REASONING_SERVER: &str = "agentopia/reasoning-mcp-server";

/// The example tool's own recipe.
const REASONING_SERVER_RECIPE: Recipe = Recipe {
    dockerfile: include_str!("../../reasoning-mcp-server/Dockerfile"),
    binary: "reasoning-mcp-server",
};

/// The recipe for any other static binary.
const ANY_RECIPE: Recipe = Recipe {
    dockerfile: "FROM scratch\n\
        ARG VERSION\n\
        COPY tool /tool\n\
        ENV TOOL_VERSION=$VERSION\n\
        LABEL org.opencontainers.image.version=$VERSION\n\
        ENTRYPOINT [\"/tool\"]\n",
    binary: "tool",
};

/// How an image is built around a binary.
struct Recipe {
    /// Takes the version as the build argument `VERSION`.
    dockerfile: &'static str,
    /// What it calls the binary.
    binary: &'static str,
}

/// Packs a static binary into an image, pushes it, and removes the local copy, so that whoever runs it has to pull it.
/// Returns the image's reference.
pub async fn pack(engine: &Engine, registry: &Registry, name: &str, version: &str, binary: &Path) -> Result<String, Error> {
    let reference = format!("{}/{name}:{version}", registry.address());
    publish(engine, &ANY_RECIPE, reference, version, binary).await
}

/// Packs the example tool, whose binary lies at `binary`, as `version`, and publishes it like [`pack`].
pub async fn pack_reasoning_server(engine: &Engine, registry: &Registry, binary: &Path, version: &str) -> Result<String, Error> {
    let reference = format!("{}/{REASONING_SERVER}:{version}", registry.address());
    publish(engine, &REASONING_SERVER_RECIPE, reference, version, binary).await
}

async fn publish(engine: &Engine, recipe: &Recipe, reference: String, version: &str, binary: &Path) -> Result<String, Error> {
    let context = tempfile::tempdir().map_err(Error::file("the temporary folder"))?;
    std::fs::copy(binary, context.path().join(recipe.binary)).map_err(Error::file(binary))?;
    let dockerfile = context.path().join("Dockerfile");
    std::fs::write(&dockerfile, recipe.dockerfile).map_err(Error::file(&dockerfile))?;

    let version = format!("VERSION={version}");
    let context = context.path().display().to_string();
    engine
        .docker(&[
            "build",
            "--quiet",
            "--force-rm",
            "--build-arg",
            &version,
            "--tag",
            &reference,
            &context,
        ])
        .await?;
    engine.docker(&["push", "--quiet", &reference]).await?;
    engine.docker(&["rmi", "--force", &reference]).await?;
    Ok(reference)
}
