//! Reading the image of a node.

use testyard_model::image::ImageSource;
use testyard_xml::Node as Xml;

use super::element::{core_children, short, word};
use super::findings::Findings;

const NAME_ONE: &str = "name an image of a registry, like debian:12, or the URL of a Dockerfile or archive";

/// The image that a sliver type names, if it names one.
pub(super) fn read(sliver_type: Xml<'_, '_>, findings: &mut Findings<'_>) -> Option<ImageSource> {
    let mut all = core_children(sliver_type, "disk_image");
    let image = all.next()?;
    if let Some(second) = all.next() {
        findings.warning(second, "the sliver_type has several disk_images: only the first is taken");
    }
    match (word(image, "name"), word(image, "url")) {
        (Some(name), url) => {
            if url.is_some() {
                findings.warning(image, "disk_image has a name and a url: the url is ignored");
            }
            source(image, "disk_image", name, findings)
        }
        (None, Some(url)) => source(image, "disk_image", url, findings),
        (None, None) => {
            findings.warning(image, "disk_image has no name: the sliver type's own image is taken");
            None
        }
    }
}

/// What an attribute of an element says of an image.
pub(super) fn source(
    element: Xml<'_, '_>,
    what: &str,
    text: &str,
    findings: &mut Findings<'_>,
) -> Option<ImageSource> {
    if text.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("urn:")) {
        findings
            .error(element, format!("{:?} is an image of another kind of testbed", short(text)))
            .suggest(NAME_ONE);
        return None;
    }
    match text.parse::<ImageSource>() {
        Ok(source) => Some(source),
        Err(error) => {
            findings.error(element, format!("{what}: {error}"));
            None
        }
    }
}
