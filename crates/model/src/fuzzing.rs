//! Entry points of the fuzz targets (`fuzz/`), run over the committed corpus by an ordinary test too.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use crate::account::PublicKey;
use crate::checksum::Checksum;
use crate::image::ImageName;
use crate::mac::Mac;
use crate::name::{ClientId, Hostname, Login, SliverTypeName};
use crate::quantity::{Probability, Rate, Size, Span};
use crate::setting::Setting;
use crate::urn::{Authority, SliceUrn, SliverUrn, Urn, UserUrn};

/// The words that strangers bring: URNs, names, images, times and SSH keys. What is accepted reads again as it was,
/// and is safe where it is used.
///
/// # Panics
/// If it is not: that is what is looked for.
pub fn words(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let one_word =
        |text: &str| text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'<' | b'>' | b'\\'));
    for shown in [
        again::<Urn>(&text),
        again::<SliceUrn>(&text),
        again::<SliverUrn>(&text),
        again::<UserUrn>(&text),
        again::<Authority>(&text),
        again::<ImageName>(&text),
        again::<Hostname>(&text),
        again::<Login>(&text),
        again::<SliverTypeName>(&text),
        again::<Checksum>(&text),
        again::<Mac>(&text),
        again::<Rate>(&text),
        again::<Span>(&text),
        again::<Probability>(&text),
        again::<Size>(&text),
    ] {
        assert!(shown.is_none_or(|shown| one_word(&shown)), "{text:?}");
    }
    again::<Setting>(&text);
    if let Ok(image) = text.parse::<ImageName>() {
        assert!(again::<ImageName>(&image.pinned()).is_some(), "{image}");
    }
    if let Ok(client_id) = text.parse::<ClientId>() {
        assert!(!client_id.as_str().chars().any(char::is_control), "{client_id:?}");
        let name = Hostname::from_client_id(&client_id).numbered(100_000);
        assert!(again::<Hostname>(name.as_str()).is_some(), "{name}");
    }
    if let Ok(time) = crate::time::parse(&text) {
        let whole = crate::time::whole_seconds(time);
        assert_eq!(crate::time::parse(&crate::time::format(time)).as_ref(), Ok(&whole), "{text:?}");
    }
    for key in PublicKey::parse_all(&text).unwrap_or_default() {
        let line = key.to_string();
        assert!(!line.chars().any(char::is_control), "{line:?}");
        assert_eq!(PublicKey::parse_all(&line).as_deref(), Ok(&[key][..]), "{line:?}");
    }
}

/// The text of a value, once it is sure that it reads as the same value.
fn again<T>(text: &str) -> Option<String>
where
    T: FromStr<Err: Debug + Display> + Display + Debug + PartialEq,
{
    match text.parse::<T>() {
        Ok(value) => {
            let shown = value.to_string();
            let second = shown.parse::<T>().expect("what we write, we read");
            assert_eq!(second, value, "{text:?}");
            Some(shown)
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            None
        }
    }
}
