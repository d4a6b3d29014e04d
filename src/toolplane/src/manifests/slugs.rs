//! Whether DigitalOcean knows the regions, sizes and images that environments ask for.

use super::{
    check::listed,
    document::{EnvironmentSpec, Manifest, Object},
    problem::{Problem, Problems},
};
use serde_saphyr::Spanned;
use std::collections::BTreeMap;

/// What DigitalOcean offers.
#[derive(Debug, Default)]
pub(crate) struct Offered {
    /// Regions in which droplets can be made.
    pub(crate) regions: Vec<String>,
    /// Sizes, and the regions that have them.
    pub(crate) sizes: BTreeMap<String, Vec<String>>,
    /// Images' slugs.
    pub(crate) images: Vec<String>,
}

/// Refuses environments that ask for what is not offered.
pub(crate) fn check_offered(manifests: &[Manifest], offered: &Offered) -> Result<(), Problems> {
    let mut problems = Problems::default();
    for manifest in manifests {
        if let Object::Environment(spec) = &manifest.object {
            check(manifest, spec, offered, &mut problems);
        }
    }
    problems.or(())
}

fn check(manifest: &Manifest, spec: &EnvironmentSpec, offered: &Offered, problems: &mut Problems) {
    let mut wrong = |value: &Spanned<String>, field: &str, message: String, help: String| {
        problems.push(Problem::new(&manifest.place(value.referenced), field, message, help));
    };
    let (region, size, image) = (&spec.region_slug, &spec.size_slug, &spec.image_slug);
    if !offered.regions.contains(&region.value) {
        let message = format!("DigitalOcean has no region `{}`", region.value);
        wrong(
            region,
            "spec.region_slug",
            message,
            format!("expected one of {}", listed(&offered.regions)),
        );
        return;
    }
    match offered.sizes.get(&size.value) {
        None => {
            let near = offered.sizes.iter().filter(|(_, regions)| regions.contains(&region.value));
            let near: Vec<&String> = near.map(|(slug, _)| slug).take(10).collect();
            let message = format!("DigitalOcean has no size `{}`", size.value);
            wrong(
                size,
                "spec.size_slug",
                message,
                format!("expected one such as {}", listed(&near)),
            );
        }
        Some(regions) if !regions.contains(&region.value) => {
            let message = format!("size `{}` is not offered in region `{}`", size.value, region.value);
            wrong(size, "spec.size_slug", message, format!("it is in {}", listed(regions)));
        }
        Some(_) => {}
    }
    if !offered.images.contains(&image.value) {
        let near: Vec<&String> = offered
            .images
            .iter()
            .filter(|slug| slug.starts_with("ubuntu"))
            .take(10)
            .collect();
        let message = format!("DigitalOcean has no image `{}`", image.value);
        wrong(
            image,
            "spec.image_slug",
            message,
            format!("expected one such as {}", listed(&near)),
        );
    }
}
