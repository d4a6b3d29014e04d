//! Images packed from scratch around one static binary.

use crate::{Engine, Error, Registry};
use std::path::Path;

/// The name under which the example tool is published.
pub const REASONING_SERVER: &str = "agentopia/reasoning-mcp-server";

/// Packs a static binary into an image, pushes it, and removes the local copy, so that whoever runs it has to pull it.
/// Returns the image's reference.
pub async fn pack(engine: &Engine, registry: &Registry, name: &str, version: &str, binary: &Path) -> Result<String, Error> {
    let context = tempfile::tempdir().map_err(Error::file("the temporary folder"))?;
    let tool = context.path().join("tool");
    std::fs::copy(binary, &tool).map_err(Error::file(binary))?;
    let recipe = context.path().join("Dockerfile");
    std::fs::write(&recipe, dockerfile(version)).map_err(Error::file(&recipe))?;

    let reference = format!("{}/{name}:{version}", registry.address());
    let context = context.path().display().to_string();
    engine
        .docker(&["build", "--quiet", "--force-rm", "--tag", &reference, &context])
        .await?;
    engine.docker(&["push", "--quiet", &reference]).await?;
    engine.docker(&["rmi", "--force", &reference]).await?;
    Ok(reference)
}

/// Packs the example tool, whose binary lies at `binary`, as `version`.
pub async fn pack_reasoning_server(engine: &Engine, registry: &Registry, binary: &Path, version: &str) -> Result<String, Error> {
    pack(engine, registry, REASONING_SERVER, version, binary).await
}

fn dockerfile(version: &str) -> String {
    format!(
        "FROM scratch\n\
         COPY tool /tool\n\
         ENV TOOL_VERSION={version}\n\
         LABEL org.opencontainers.image.version={version}\n\
         ENTRYPOINT [\"/tool\"]\n"
    )
}
