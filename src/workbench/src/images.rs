//! Images packed from scratch around one static binary.

use crate::{Engine, Error, Registry};
use std::path::Path;

/// The name under which the example tool is published.
pub const REASONING_SERVER: &str = "agentopia/reasoning-mcp-server";

/// What an image is made of.
#[derive(Clone, Copy, Debug)]
pub struct Package<'a> {
    /// The image's name, without registry and tag.
    pub name: &'a str,
    /// Its tag, and the recipe's build argument `VERSION`.
    pub version: &'a str,
    /// A Dockerfile; its context has nothing but the binary, under its own file name.
    pub recipe: &'a str,
    /// A static binary.
    pub binary: &'a Path,
}

impl<'a> Package<'a> {
    /// The example tool, whose binary lies at `binary`.
    pub fn reasoning_server(binary: &'a Path, version: &'a str) -> Self {
        Self {
            name: REASONING_SERVER,
            version,
            recipe: include_str!("../../reasoning-mcp-server/Dockerfile"),
            binary,
        }
    }
}

/// Builds an image, pushes it, and removes the local copy, so that whoever runs it has to pull it. Returns its reference.
pub async fn pack(engine: &Engine, registry: &Registry, package: Package<'_>) -> Result<String, Error> {
    let context = tempfile::tempdir().map_err(Error::file("the temporary folder"))?;
    let tool = context.path().join(package.binary.file_name().unwrap_or_default());
    std::fs::copy(package.binary, &tool).map_err(Error::file(package.binary))?;
    let recipe = context.path().join("Dockerfile");
    std::fs::write(&recipe, package.recipe).map_err(Error::file(&recipe))?;

    let reference = format!("{}/{}:{}", registry.address(), package.name, package.version);
    let version = format!("VERSION={}", package.version);
    let context = context.path().display().to_string();
    engine
        .docker(&[
            "build",
            "--quiet",
            "--force-rm",
            // A layer that another image brought may go with it in the middle of this build.
            "--no-cache",
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

/// Packs the example tool, whose binary lies at `binary`, as `version`.
pub async fn pack_reasoning_server(engine: &Engine, registry: &Registry, binary: &Path, version: &str) -> Result<String, Error> {
    pack(engine, registry, Package::reasoning_server(binary, version)).await
}
