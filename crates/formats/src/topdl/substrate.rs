//! Substrates and the halves of links that interfaces are.

use testyard_model::impairment::Impairment;
use testyard_model::link::{Link, LinkKind, Member};
use testyard_model::name::ClientId;
use testyard_model::quantity::{Rate, Span};
use testyard_xml::Node as Xml;

use super::read::{attribute_values, child_text};
use crate::exact::scaled;
use crate::remarks::short;
use crate::rspec::findings::Findings;
use crate::shape::{Shape, WHOLE, slower};

/// What a substrate or an interface says of the way; what is not said is open.
#[derive(Clone, Copy, Default)]
pub(super) struct Half {
    rate: Option<Rate>,
    delay: Option<Span>,
    loss: Option<u128>,
}

impl Half {
    /// `loss_parts` is how many of the element's loss a half is: a substrate has that of both.
    pub(super) fn read(element: Xml<'_, '_>, loss_parts: u128, findings: &mut Findings<'_>) -> Self {
        let child = |name: &str| element.children().find(|child| child.tag_name().name() == name);
        let mut number = |outer: &str, inner: &str, scale: u32, most: u128, unit: &str| {
            let part = child(outer)?;
            let text = child_text(part, inner)?;
            let value = scaled(&text, scale).filter(|value| *value <= most);
            if value.is_none() {
                findings
                    .error(part, format!("{outer} is {:?}", short(&text)))
                    .suggest(format!("write {unit}"));
            }
            value
        };
        let rate = number("capacity", "rate", 3, 1_000_000_000_000, "kilobits per second, like 100000.0");
        let delay = number("latency", "time", 6, u128::from(u64::MAX / 2), "milliseconds, like 5.0");
        let loss =
            attribute_values(element).into_iter().find(|(key, _)| key == "loss").and_then(|(_, text)| {
                let value = scaled(&text, 18).filter(|value| *value <= WHOLE);
                if value.is_none() {
                    findings
                        .error(element, format!("loss is {:?}", short(&text)))
                        .suggest("write a fraction from 0 to 1, like 0.01");
                }
                value.map(|value| value / loss_parts)
            });
        Self {
            rate: rate
                .filter(|bits| *bits > 0)
                .and_then(|bits| Rate::from_bits_per_second(u64::try_from(bits).ok()?)),
            delay: delay.and_then(|ns| u64::try_from(ns).ok()).map(Span::from_nanos),
            loss,
        }
    }

    /// What an interface does on a substrate.
    fn on(self, substrate: Self) -> Shape {
        let shape = Shape {
            rate: self.rate.or(substrate.rate),
            delay: self.delay.or(substrate.delay).unwrap_or_default(),
            loss: self.loss.or(substrate.loss).unwrap_or_default(),
        };
        // As what a member can hold.
        Shape::of(&shape.impairment()).0
    }
}

/// The link that a substrate is.
pub(super) fn link(name: ClientId, substrate: Half, ends: Vec<(ClientId, Half)>, is_lan: bool) -> Link {
    let kind = if ends.len() == 2 && !is_lan { LinkKind::PointToPoint } else { LinkKind::Lan };
    let halves: Vec<Shape> = ends.iter().map(|(_, half)| half.on(substrate)).collect();
    let member = |((interface, _), half): ((ClientId, Half), &Shape)| {
        let (to_link, from_link) = match kind {
            LinkKind::Lan => (half.impairment(), half.impairment()),
            LinkKind::PointToPoint => (whole(&halves[0], &halves[1]).impairment(), Impairment::default()),
        };
        Member { interface, to_link, from_link }
    };
    let members = ends.into_iter().zip(&halves).map(member).collect();
    Link { members, ..Link::new(name, kind) }
}

fn whole(first: &Shape, second: &Shape) -> Shape {
    Shape { rate: slower(first.rate, second.rate), ..first.then(second) }
}
