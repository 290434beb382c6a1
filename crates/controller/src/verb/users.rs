//! Accounts for users, with login names that are the same on every node of a slice.

use std::collections::BTreeMap;

use testyard_model::account::{Account, User};
use testyard_model::urn::UserUrn;
use testyard_plan::accounts;

use crate::api::Refusal;
use crate::settings::Settings;
use crate::slice::Slice;

/// Users, each once, with all keys that were given, each once.
pub(super) fn merge(users: &[User]) -> Vec<User> {
    let mut merged: Vec<User> = Vec::new();
    for user in users {
        let index = merged.iter().position(|known| known.urn == user.urn).unwrap_or_else(|| {
            merged.push(User { urn: user.urn.clone(), keys: vec![] });
            merged.len() - 1
        });
        for key in &user.keys {
            if !merged[index].keys.iter().any(|known| known.identity() == key.identity()) {
                merged[index].keys.push(key.clone());
            }
        }
    }
    merged
}

/// An account for each user, with the name that the user has or gets in the slice. `sudo` is left to the node.
pub(super) fn accounts_for(
    slice: &mut Slice,
    settings: &Settings,
    users: &[User],
) -> Result<BTreeMap<UserUrn, Account>, Refusal> {
    let most = settings.quotas.users_per_node as usize;
    if users.len() > most {
        return Err(Refusal::Refused(format!(
            "{} users are too many: a node has at most {most}",
            users.len()
        )));
    }
    let urns: Vec<UserUrn> = users.iter().map(|user| user.urn.clone()).collect();
    let names = accounts::assign(&slice.logins, &urns, &settings.reserved_logins);
    slice.logins.extend(names.iter().cloned());
    Ok(names
        .into_iter()
        .zip(users)
        .map(|((urn, login), user)| {
            (urn.clone(), Account { user: urn, login, keys: user.keys.clone(), sudo: false })
        })
        .collect())
}

/// The accounts of a node in the order of the users.
pub(super) fn in_order(users: &[User], accounts: &BTreeMap<UserUrn, Account>, sudo: bool) -> Vec<Account> {
    let account = |user: &User| Some(Account { sudo, ..accounts.get(&user.urn)?.clone() });
    users.iter().filter_map(account).collect()
}
