//! What the pool does next. Pure.

use std::collections::BTreeMap;

use testyard_runtime::NodeKey;

use super::Make;

/// A spare, as far as it is known.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Spare {
    /// What it was made from; unknown of what is found without a record, or comes back from a failed hand-over.
    pub(crate) make: Option<Make>,
    pub(crate) power: Power,
    /// Somebody listens to its guest.
    pub(crate) attended: bool,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Power {
    /// It has ended; nothing on it is worth another boot.
    Stopped,
    /// Made, not yet booted.
    Created,
    /// It runs.
    Running,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Remove this one.
    Remove(NodeKey),
    /// Boot this one.
    Boot(NodeKey),
    /// Listen to the guest of this one.
    Attend(NodeKey),
    /// Make another one.
    Make,
}

/// The next step towards `size` spares of this make; without one, towards none. Spares that are being handed over are not
/// among `spares`: whether they come back is not yet known.
pub(crate) fn decide(wanted: Option<(&Make, u32)>, spares: &BTreeMap<NodeKey, Spare>) -> Option<Action> {
    let fits = |spare: &Spare| {
        spare.power != Power::Stopped && wanted.is_some_and(|(make, _)| spare.make.as_ref() == Some(make))
    };
    if let Some((key, _)) = spares.iter().find(|(_, spare)| !fits(spare)) {
        return Some(Action::Remove(*key));
    }
    let size = wanted.map_or(0, |(_, size)| size as usize);
    if spares.len() > size {
        return spares.iter().min_by_key(|(_, spare)| spare.power).map(|(key, _)| Action::Remove(*key));
    }
    // What is nearly there first.
    let next = spares.iter().find_map(|(key, spare)| match (spare.power, spare.attended) {
        (Power::Running, false) => Some(Action::Attend(*key)),
        (Power::Created, _) => Some(Action::Boot(*key)),
        (Power::Running, true) | (Power::Stopped, _) => None,
    });
    next.or_else(|| (spares.len() < size).then_some(Action::Make))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use testyard_model::id::SliverId;
    use testyard_model::sliver_type::{Limits, Privileges, RuntimeKind};
    use uuid::Uuid;

    use super::*;

    fn make(image: u8) -> Make {
        Make {
            runtime: RuntimeKind::Fake,
            image: format!("sha256:{image}"),
            limits: Limits::default(),
            privileges: Privileges::default(),
            guest: String::new(),
        }
    }

    fn key(number: u128) -> NodeKey {
        NodeKey::spare(SliverId::from_uuid(Uuid::from_u128(number)))
    }

    fn spare() -> impl Strategy<Value = Spare> {
        let power = prop_oneof![Just(Power::Stopped), Just(Power::Created), Just(Power::Running)];
        (proptest::option::weighted(0.9, 0_u8..3), power, any::<bool>()).prop_map(
            |(image, power, attended)| Spare {
                make: image.map(make),
                power,
                attended: attended && power == Power::Running,
            },
        )
    }

    /// What happens between two steps of the keeper.
    #[derive(Clone, Debug)]
    enum Event {
        Nothing,
        /// A node takes one, if one fits.
        Taken,
        /// One ends.
        Ends(prop::sample::Index),
        /// The image's name means another content.
        Image(u8),
        /// SIGHUP.
        Size(u32),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            6 => Just(Event::Nothing),
            2 => Just(Event::Taken),
            1 => any::<prop::sample::Index>().prop_map(Event::Ends),
            1 => (0_u8..3).prop_map(Event::Image),
            1 => (0_u32..6).prop_map(Event::Size),
        ]
    }

    proptest! {
        #[test]
        fn whatever_happens_the_pool_comes_to_what_is_wanted(
            begin in proptest::collection::vec(spare(), 0..8),
            events in proptest::collection::vec(event(), 0..40),
        ) {
            let mut spares: BTreeMap<NodeKey, Spare> =
                (0..).zip(begin).map(|(number, spare)| (key(number), spare)).collect();
            let (mut size, mut image, mut made) = (2_u32, 0_u8, 1000_u128);
            let mut quiet = 0;
            let mut events = events.into_iter();
            loop {
                match events.next() {
                    Some(Event::Taken) => {
                        let fit = |spare: &Spare| spare.power == Power::Running && spare.make == Some(make(image));
                        let taken = spares.iter().find(|(_, spare)| fit(spare)).map(|(key, _)| *key);
                        taken.map(|key| spares.remove(&key));
                    }
                    Some(Event::Ends(which)) if !spares.is_empty() => {
                        let key = *which.get(&spares.keys().copied().collect::<Vec<_>>());
                        if let Some(spare) = spares.get_mut(&key) {
                            (spare.power, spare.attended) = (Power::Stopped, false);
                        }
                    }
                    Some(Event::Image(new)) => image = new,
                    Some(Event::Size(new)) => size = new,
                    Some(Event::Nothing | Event::Ends(_)) => {}
                    None => quiet += 1,
                }
                prop_assert!(quiet < 60, "it never rests: {spares:?}");
                let wanted = make(image);
                let fitting = spares.values().filter(|spare| {
                    spare.make.as_ref() == Some(&wanted) && spare.power != Power::Stopped
                }).count();
                match decide((size > 0).then_some((&wanted, size)), &spares) {
                    None => {
                        prop_assert_eq!(spares.len(), size as usize);
                        let good = Spare { make: Some(wanted), power: Power::Running, attended: true };
                        let all_good = spares.values().all(|spare| *spare == good);
                        prop_assert!(all_good, "{:?}", spares);
                        if quiet > 0 {
                            break;
                        }
                    }
                    Some(Action::Make) => {
                        prop_assert!(spares.len() < size as usize, "never more than asked for");
                        made += 1;
                        let new = Spare { make: Some(wanted), power: Power::Created, attended: false };
                        spares.insert(key(made), new);
                    }
                    Some(Action::Boot(key)) => {
                        let spare = spares.get_mut(&key).expect("one that is there");
                        prop_assert_eq!(spare.power, Power::Created);
                        (spare.power, spare.attended) = (Power::Running, true);
                    }
                    Some(Action::Attend(key)) => spares.get_mut(&key).expect("one that is there").attended = true,
                    Some(Action::Remove(key)) => {
                        let gone = spares.remove(&key).expect("one that is there");
                        let fits = gone.make.as_ref() == Some(&wanted) && gone.power != Power::Stopped;
                        prop_assert!(!fits || fitting > size as usize, "a good one goes only where there are too many");
                    }
                }
            }
        }
    }
}
