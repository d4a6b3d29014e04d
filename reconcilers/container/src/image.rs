//! Image references, and images as the engine shows them.
//!
//! Owns: what is pulled for a reference, and which command a container of an image runs. Must not: ask the engine anything.
//! Promises: a reference without tag and digest means `latest`, never every tag of a repository.

use bollard::models::ImageInspect;

/// An image that the engine has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The engine's id: `sha256:...` of the image's configuration. Containers are created from it, so that a tag that moves
    /// meanwhile changes nothing.
    pub id: String,
    /// `sha256:...` of the manifest in its registry, or the id of an image that came from none.
    pub digest: String,
    /// The image's own entrypoint.
    pub entrypoint: Vec<String>,
    /// The image's own arguments.
    pub arguments: Vec<String>,
}

impl Image {
    /// Reads the engine's answer about `reference`.
    pub(crate) fn read(reference: &str, answer: ImageInspect) -> Option<Self> {
        let id = answer.id?;
        let repository = repository(reference);
        let digests = answer.repo_digests.unwrap_or_default();
        let digest = digests
            .iter()
            .filter_map(|text| text.split_once('@'))
            .find_map(|(name, digest)| (name == repository).then(|| digest.to_owned()));
        let config = answer.config.unwrap_or_default();
        Some(Self {
            digest: digest.unwrap_or_else(|| id.clone()),
            id,
            entrypoint: config.entrypoint.unwrap_or_default(),
            arguments: config.cmd.unwrap_or_default(),
        })
    }

    /// The command line of a container: the image's entrypoint, then `arguments` in place of the image's own. Empty when the
    /// image names no command.
    pub fn command(&self, arguments: Option<&[String]>) -> Vec<String> {
        let arguments = arguments.unwrap_or(&self.arguments);
        [&self.entrypoint, arguments].concat()
    }
}

/// The reference with a tag or a digest in it.
pub(crate) fn explicit(reference: &str) -> String {
    if repository(reference).len() == reference.len() {
        format!("{reference}:latest")
    } else {
        reference.to_owned()
    }
}

/// The reference without tag and digest. A colon before the last slash belongs to a registry's port.
fn repository(reference: &str) -> &str {
    let name = reference.split_once('@').map_or(reference, |(name, _)| name);
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        Some(_) | None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_taken_apart() {
        for (reference, repository_of, pulled) in [
            ("acme/echo", "acme/echo", "acme/echo:latest"),
            ("acme/echo:1.2", "acme/echo", "acme/echo:1.2"),
            ("127.0.0.1:5000/echo", "127.0.0.1:5000/echo", "127.0.0.1:5000/echo:latest"),
            ("127.0.0.1:5000/echo:1", "127.0.0.1:5000/echo", "127.0.0.1:5000/echo:1"),
            ("acme/echo@sha256:ab", "acme/echo", "acme/echo@sha256:ab"),
            ("acme/echo:1@sha256:ab", "acme/echo", "acme/echo:1@sha256:ab"),
        ] {
            assert_eq!((repository(reference), explicit(reference).as_str()), (repository_of, pulled));
        }
    }

    #[test]
    fn the_command_is_the_images_unless_arguments_replace_it() {
        let image = Image::read(
            "acme/echo:1",
            serde_json::from_value(serde_json::json!({
                "Id": "sha256:aa",
                "RepoDigests": ["other/echo@sha256:cc", "acme/echo@sha256:bb"],
                "Config": {"Entrypoint": ["/echo"], "Cmd": ["--loud"]},
            }))
            .unwrap(),
        )
        .unwrap();
        assert_eq!((image.id.as_str(), image.digest.as_str()), ("sha256:aa", "sha256:bb"));
        assert_eq!(image.command(None), ["/echo", "--loud"]);
        assert_eq!(image.command(Some(&["-q".to_owned()])), ["/echo", "-q"]);
        assert_eq!(image.command(Some(&[])), ["/echo"]);
        let local = Image::read(
            "local:1",
            serde_json::from_value(serde_json::json!({"Id": "sha256:aa"})).unwrap(),
        )
        .unwrap();
        assert_eq!((local.digest.as_str(), local.command(None).len()), ("sha256:aa", 0));
    }
}
