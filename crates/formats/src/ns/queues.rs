//! Directions of links, their queues, and blockstores: objects that a file makes to set something of.

use testyard_model::link::LinkKind;

use super::call::{Call, Complaint, Taken, short};
use super::drafts::{Object, StoreDraft};
use super::queue::is_of_red;
use super::reader::Reader;
use super::units;

type Outcome = Result<Taken, Complaint>;

/// `$ns link A B`: what A sends to B.
pub(super) fn link(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let [one, other] = call.exactly()?;
    let (one, other) = (reader.node(one)?, reader.node(other)?);
    let link = reader.between(one, other)?;
    let member = reader.member(one, link)?;
    reader.made(call, Object::Half { link, member });
    Ok(Taken::AsListed)
}

/// `$ns lanlink LAN NODE`: what the node sends to the LAN.
pub(super) fn lan_link(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let [lan, node] = call.exactly()?;
    let (link, node) = (reader.link(lan)?, reader.node(node)?);
    if reader.links[link].kind != LinkKind::Lan {
        return Err(Complaint::error(format!("{} is a link, no LAN", reader.links[link].name))
            .suggest("use [$ns link A B]"));
    }
    let member = reader.member(node, link)?;
    reader.made(call, Object::Half { link, member });
    Ok(Taken::AsListed)
}

/// `$direction queue`.
pub(super) fn queue(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let Object::Half { link, member } = call.object else {
        return Err(Complaint::Broken("its link could not be found".to_owned()));
    };
    reader.made(call, Object::Queue { link, member });
    Ok(Taken::AsListed)
}

/// `$queue set VARIABLE VALUE`.
pub(super) fn queue_set(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let [variable, value] = call.exactly()?;
    let Object::Queue { link, member } = call.object else {
        return Err(Complaint::Broken("its queue could not be found".to_owned()));
    };
    let mut queue = reader.links[link].members[member].queue.clone().unwrap_or_default();
    if !queue.set(variable, value)? {
        return Ok(Taken::Ignored(format!("a queue has no {}", short(variable))));
    }
    let taken = if is_of_red(variable) {
        // It may become RED by a later statement.
        queue.of_red.push(call.position);
        Taken::Later
    } else {
        Taken::AsListed
    };
    reader.links[link].members[member].queue = Some(queue);
    Ok(taken)
}

/// `$ns blockstore`.
pub(super) fn blockstore(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    reader.made(call, Object::Store(reader.stores.len()));
    reader.stores.push(StoreDraft { position: call.position, node: None, mount_point: None, size: None });
    Ok(Taken::AsListed)
}

fn store<'r>(reader: &'r mut Reader<'_>, call: &Call<'_>) -> Result<&'r mut StoreDraft, Complaint> {
    match call.object {
        Object::Store(store) => Ok(&mut reader.stores[store]),
        _ => Err(Complaint::Broken("its blockstore could not be made".to_owned())),
    }
}

pub(super) fn store_class(_: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let [class] = call.exactly()?;
    match class {
        "local" => Ok(Taken::AsListed),
        "SAN" => Ok(Taken::Approximated("the data is on the node's own disk, and goes with it".to_owned())),
        _ => Err(Complaint::error(format!("{:?} is no class of a blockstore", short(class)))
            .suggest("it can be local or SAN")),
    }
}

pub(super) fn store_size(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let [size] = call.exactly()?;
    store(reader, call)?.size = Some(units::size(size)?);
    Ok(Taken::AsListed)
}

pub(super) fn store_mount_point(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let [path] = call.exactly()?;
    if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return Err(Complaint::error(format!("{:?} is no mount point", short(path)))
            .suggest("give an absolute path, like /data"));
    }
    store(reader, call)?.mount_point = Some(path.to_owned());
    Ok(Taken::AsListed)
}

pub(super) fn store_node(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let [name] = call.exactly()?;
    let node = reader.node(name)?;
    store(reader, call)?.node = Some(node);
    Ok(Taken::AsListed)
}
