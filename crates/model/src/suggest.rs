//! "Did you mean …?"

/// The candidate that `given` most likely meant: near in spelling, or equal but for case and punctuation. `None` if
/// nothing is near enough to be worth a guess.
#[must_use]
pub fn closest<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase();
    let given_plain = plain(given);
    candidates
        .into_iter()
        .filter(|candidate| *candidate != given)
        .filter_map(|candidate| {
            if plain(candidate) == given_plain {
                return Some((1.0, candidate));
            }
            let likeness =
                strsim::normalized_damerau_levenshtein(&given.to_lowercase(), &candidate.to_lowercase());
            (likeness >= 0.7).then_some((likeness, candidate))
        })
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_and_far() {
        let known =
            ["docker-container", "docker-container_100M", "urn:publicid:IDN+am.example.net+authority+am"];
        assert_eq!(closest("docker_container", known), Some("docker-container"));
        assert_eq!(closest("urn:publicid:IDN+am.example.net+authority+cm", known), Some(known[2]));
        assert_eq!(closest("raw-pc", known), None);
    }
}
