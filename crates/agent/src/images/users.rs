//! Which nodes use which images, so that an image goes with its last node.

use std::collections::{BTreeSet, HashMap};

use testyard_model::id::{SliceId, SliverId};
use testyard_model::image::{Content, ImageUrl};

use crate::ledger::Record;

/// What a node uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) slice: SliceId,
    pub(super) url: ImageUrl,
    pub(super) content: Content,
}

/// The nodes.
#[derive(Debug, Default)]
pub(super) struct Users(HashMap<SliverId, User>);

impl Users {
    pub(super) fn of(records: &HashMap<SliverId, Record>) -> Self {
        let user = |(sliver, record): (&SliverId, &Record)| {
            let url = record.url.clone()?;
            // The name of what was made ends with its content.
            let content = record.image.name.as_str().rsplit(':').next()?.parse().ok()?;
            Some((*sliver, User { slice: record.slice, url, content }))
        };
        Self(records.iter().filter_map(user).collect())
    }

    /// Notes what a node uses; gives what it used before, if that was another.
    pub(super) fn put(&mut self, sliver: SliverId, user: User) -> Option<User> {
        let content = user.content.clone();
        self.0.insert(sliver, user).filter(|before| before.content != content)
    }

    pub(super) fn take(&mut self, sliver: SliverId) -> Option<User> {
        self.0.remove(&sliver)
    }

    pub(super) fn has(&self, content: &Content) -> bool {
        self.0.values().any(|user| user.content == *content)
    }

    /// Whether a node uses what a URL had.
    pub(super) fn have(&self, url: &ImageUrl) -> bool {
        self.0.values().any(|user| user.url == *url)
    }

    /// The content that a URL has for a slice.
    pub(super) fn content(&self, slice: SliceId, url: &ImageUrl) -> Option<Content> {
        self.0.values().find(|user| user.slice == slice && user.url == *url).map(|user| user.content.clone())
    }

    /// The different images of a slice.
    pub(super) fn contents(&self, slice: SliceId) -> BTreeSet<&Content> {
        self.0.values().filter(|user| user.slice == slice).map(|user| &user.content).collect()
    }
}
