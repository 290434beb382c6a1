//! Reading the image of a node.

use testyard_model::image::{ImageName, ImageNameError};
use testyard_xml::Node as Xml;

use super::element::{core_children, short, word};
use super::findings::Findings;

const NAME_ONE: &str = "name an image of a registry, like debian:12";

/// The image that a sliver type names, if it names one.
pub(super) fn read(sliver_type: Xml<'_, '_>, findings: &mut Findings<'_>) -> Option<ImageName> {
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
            named(image, name, findings)
        }
        (None, Some(url)) => match url.parse::<ImageName>() {
            Ok(name) => {
                let message = format!(
                    "disk_image has a url that is the name of an image: {:?} is taken",
                    name.as_str()
                );
                findings.warning(image, message).suggest("write name instead of url");
                Some(name)
            }
            Err(_) => {
                findings
                    .error(image, format!("images by URL are not supported: {:?}", short(url)))
                    .suggest(NAME_ONE);
                None
            }
        },
        (None, None) => {
            findings.warning(image, "disk_image has no name: the sliver type's own image is taken");
            None
        }
    }
}

fn named(image: Xml<'_, '_>, name: &str, findings: &mut Findings<'_>) -> Option<ImageName> {
    if name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("urn:")) {
        findings
            .error(image, format!("{:?} is an image of another kind of testbed", short(name)))
            .suggest(NAME_ONE);
        return None;
    }
    match name.parse() {
        Ok(name) => Some(name),
        Err(ImageNameError::Url(url)) => {
            findings
                .error(image, format!("images by URL are not supported: {:?}", short(&url)))
                .suggest(NAME_ONE);
            None
        }
        Err(error @ ImageNameError::Grammar(_)) => {
            findings.error(image, format!("disk_image: {error}"));
            None
        }
    }
}
