//! Directions of links, their queues, and blockstores: objects that a file makes to set something of.

use testyard_model::impairment::{Queue, QueueLimit, Red};
use testyard_model::link::LinkKind;
use testyard_model::quantity::{Probability, Size};

use super::call::{Call, Complaint, Taken, short};
use super::drafts::{Object, StoreDraft};
use super::links::QUEUE;
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
    let slot = &mut reader.links[link].members[member].to.queue;
    let mut queue = slot.unwrap_or(QUEUE);
    if !change(&mut queue, variable, value)? {
        return Ok(Taken::Ignored(format!("a queue has no {}", short(variable))));
    }
    *slot = Some(queue);
    Ok(Taken::AsListed)
}

/// Changes a variable of a queue; false if it has none such.
pub(super) fn change(queue: &mut Queue, variable: &str, value: &str) -> Result<bool, Complaint> {
    let bad = || Complaint::error(format!("{:?} is no value of {variable}", short(value)));
    let number = || value.parse::<u32>().map_err(|_| bad());
    let flag = || match value {
        "0" | "false" => Ok(false),
        "1" | "true" => Ok(true),
        _ => Err(bad().suggest("it is 0 or 1")),
    };
    let red = |queue: &mut Queue, change: &dyn Fn(&mut Red)| {
        if let Some(red) = &mut queue.red {
            change(red);
        }
    };
    match variable {
        "limit_" => {
            let limit = number()?;
            queue.limit = match queue.limit {
                QueueLimit::Packets(_) => QueueLimit::Packets(limit),
                QueueLimit::Bytes(_) => QueueLimit::Bytes(Size::from_bytes(limit.into())),
            };
        }
        "queue-in-bytes_" => {
            let count = match queue.limit {
                QueueLimit::Packets(count) => count,
                QueueLimit::Bytes(size) => u32::try_from(size.bytes()).unwrap_or(u32::MAX),
            };
            queue.limit = if flag()? {
                QueueLimit::Bytes(Size::from_bytes(count.into()))
            } else {
                QueueLimit::Packets(count)
            };
        }
        "red_" => {
            let gentle = queue.red.is_some_and(|red| red.gentle);
            queue.red = flag()?.then(|| queue.red.unwrap_or(Red { gentle, ..Red::NS }));
        }
        "gentle_" => {
            let gentle = flag()?;
            red(queue, &|red| red.gentle = gentle);
        }
        "thresh_" => {
            let min = number()?;
            red(queue, &|red| red.min = min);
        }
        "maxthresh_" => {
            let max = number()?;
            red(queue, &|red| red.max = max);
        }
        "q_weight_" => {
            let weight = units::probability(value)?;
            red(queue, &|red| red.weight = weight);
        }
        "linterm_" => {
            let inverse = value.parse::<f64>().ok().filter(|inverse| *inverse >= 1.0).ok_or_else(bad)?;
            let probability = Probability::from_ratio(1.0 / inverse).ok_or_else(bad)?;
            red(queue, &|red| red.probability = probability);
        }
        _ => return Ok(false),
    }
    Ok(true)
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
