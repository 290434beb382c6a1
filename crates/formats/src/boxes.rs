//! Which of this testbed's images stands for a box of DETER's containers (`containers:image_os`, `image_type`,
//! `image_name`, `image_url`; deter.md §2.1), the same in whatever language it is asked for.
//!
//! The testbed's configuration says so: by the box's name, by its URL, or by the name of the file there. Without that
//! the name may be an image of a registry, unless it is a Vagrant box's: those have names like `lab/ub14` too.

use testyard_model::image::ImageName;
use testyard_model::link::{Attribute, attribute};
use testyard_model::suggest::closest;

use crate::import::Site;
use crate::remarks::short;

/// What is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BoxImage<'w> {
    pub(crate) os: Option<&'w str>,
    pub(crate) kind: Option<&'w str>,
    pub(crate) name: Option<&'w str>,
    pub(crate) url: Option<&'w str>,
}

/// What there is for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// This.
    Image(ImageName),
    /// The default.
    Default {
        /// Why.
        message: String,
        /// What would help.
        suggestion: Option<String>,
    },
}

/// Among more names than this a likeness is not looked for: it would take long.
const MANY: usize = 200;
const KEYS: [&str; 4] =
    ["containers:image_os", "containers:image_type", "containers:image_name", "containers:image_url"];

/// Whether an attribute says something of the image.
pub(crate) fn is_of_box(key: &str) -> bool {
    KEYS.contains(&key)
}

impl<'w> BoxImage<'w> {
    /// What attributes say; none if nothing.
    pub(crate) fn of(attributes: &'w [Attribute]) -> Option<Self> {
        let [os, kind, name, url] =
            KEYS.map(|key| attribute(attributes, key).map(str::trim).filter(|text| !text.is_empty()));
        let this = Self { os, kind, name, url };
        (this != Self::default()).then_some(this)
    }

    /// As DETER's tools name them.
    pub(crate) fn attributes(&self) -> Vec<Attribute> {
        let all = KEYS.into_iter().zip([self.os, self.kind, self.name, self.url]);
        let attribute = |(key, value): (&str, Option<&str>)| {
            Some(Attribute { key: key.to_owned(), value: value?.to_owned() })
        };
        all.filter_map(attribute).collect()
    }

    /// A technology that there is none of here, which is taken for Vagrant.
    pub(crate) fn odd_kind(&self) -> Option<&'w str> {
        self.kind.filter(|kind| !["vagrant", "docker"].contains(kind))
    }

    fn is_windows(&self) -> bool {
        self.os.is_some_and(|os| os.to_ascii_lowercase().starts_with("windows"))
    }

    /// The image of a registry that its name may be.
    fn in_registry(&self) -> Option<ImageName> {
        self.name.filter(|name| name.contains(['/', ':', '@']))?.parse().ok()
    }

    /// Looks for it.
    pub(crate) fn find(&self, site: &Site) -> Found {
        let file = self.url.and_then(|url| url.rsplit('/').next());
        let names = [self.name, self.url, file, file.and_then(|file| file.strip_suffix(".box"))];
        if let Some(known) = names.into_iter().flatten().find_map(|name| site.images.get(name)) {
            return Found::Image(known.clone());
        }
        let is_vagrant = self.kind.is_some_and(|kind| kind != "docker");
        let is_box = file.is_some_and(|file| file.ends_with(".box"));
        match self.in_registry() {
            Some(image) if !is_vagrant && !is_box && !self.is_windows() => Found::Image(image),
            image => self.missing(site, image.filter(|_| !self.is_windows())),
        }
    }

    fn missing(&self, site: &Site, in_registry: Option<ImageName>) -> Found {
        let Some(name) = self.name.or(self.url) else {
            let message = "the container names no image: the default is taken".to_owned();
            return Found::Default { message, suggestion: None };
        };
        let message = if self.is_windows() {
            format!("{:?} is Windows, which does not run here: the default image is taken", short(name))
        } else {
            format!("there is no image for {:?} here: the default is taken", short(name))
        };
        let known: Vec<&str> = site.images.keys().map(String::as_str).take(MANY + 1).collect();
        let near = (known.len() <= MANY).then(|| closest(name, known)).flatten();
        let configure = format!("the testbed's configuration says which image stands for {:?}", short(name));
        let suggestion = match (near, in_registry) {
            (Some(near), _) => format!("did you mean {near:?}?"),
            (None, Some(image)) if image.as_str().contains([':', '@']) => {
                format!("{configure}; if it is an image of a registry, say image_type docker")
            }
            (None, _) => configure,
        };
        Found::Default { message, suggestion: Some(suggestion) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(os: &str, kind: &str, name: &str, url: &str) -> Result<String, String> {
        let image = |name: &str, image: &str| (name.to_owned(), image.parse().unwrap());
        let images = [
            image("deter_ub1404_64_vb.box", "ubuntu:14.04"),
            image("http://mirror.example/b.box", "debian:11"),
            image("lab/named", "debian:12"),
            image("plain", "debian:10"),
        ];
        let site = Site { images: images.into(), ..Site::default() };
        let some = |text: &'static str| Some(text).filter(|text| !text.is_empty());
        let leak = |text: &str| some(String::leak(text.to_owned()));
        let wanted = BoxImage { os: leak(os), kind: leak(kind), name: leak(name), url: leak(url) };
        match wanted.find(&site) {
            Found::Image(image) => Ok(image.to_string()),
            Found::Default { message, suggestion } => {
                Err(format!("{message}; {}", suggestion.unwrap_or_default()))
            }
        }
    }

    #[test]
    fn the_configuration_knows_boxes_by_name_url_and_file() {
        let url = "http://scratch/containers/deter_ub1404_64_vb.box";
        assert_eq!(found("ubuntu", "vagrant", "deter/ub14", url).unwrap(), "ubuntu:14.04");
        assert_eq!(found("", "", "x", "http://mirror.example/b.box").unwrap(), "debian:11");
        assert_eq!(found("", "vagrant", "lab/named", "").unwrap(), "debian:12");
        assert_eq!(found("", "vagrant", "x", "http://x/plain.box").unwrap(), "debian:10");
    }

    #[test]
    fn a_box_is_no_image_of_a_registry() {
        for (os, kind, name, url) in [
            ("", "vagrant", "deter/ub14", ""),
            ("windows 7", "", "deter/win7", ""),
            ("", "", "deter/ub14", "http://x/y.box"),
            ("", "qemu", "debian:12", ""),
            ("", "", "plainer", ""),
            ("ubuntu", "", "", ""),
        ] {
            found(os, kind, name, url).unwrap_err();
        }
        assert!(found("", "vagrant", "debian:12", "").unwrap_err().contains("say image_type docker"));
        assert!(found("windows", "vagrant", "x", "").unwrap_err().contains("is Windows"));
        for kind in ["", "docker"] {
            assert_eq!(found("", kind, "debian:12", "").unwrap(), "debian:12");
            assert_eq!(found("", kind, "lab/tool", "").unwrap(), "lab/tool");
        }
    }
}
