//! The arguments of `make-deter-lan`: a rate, a distribution of delays, bursts of losses. DETER put them all into one
//! machine in the middle, so a packet meets them once: here when it is sent.

use testyard_model::impairment::{Distribution, Impairment, Jitter, Loss};
use testyard_model::quantity::{Probability, Rate, Span};

use super::call::{Complaint, Taken, short};
use super::units;

struct Arguments<'a> {
    rest: std::iter::Peekable<std::slice::Iter<'a, String>>,
}

impl<'a> Arguments<'a> {
    fn next(&mut self, what: &str) -> Result<&'a str, Complaint> {
        self.rest
            .next()
            .map(String::as_str)
            .ok_or_else(|| Complaint::error(format!("make-deter-lan ends where {what} should be")))
    }

    /// The next word if it is one of these.
    fn one_of(&mut self, known: &[&str]) -> Option<&'a str> {
        self.rest.next_if(|word| known.contains(&word.as_str())).map(String::as_str)
    }
}

pub(super) fn impairment(arguments: &[String]) -> Result<(Impairment, Taken), Complaint> {
    let mut rest = Arguments { rest: arguments.iter().peekable() };
    let mut impairment =
        Impairment { rate: Rate::from_bits_per_second(1_000_000_000), ..Impairment::default() };
    let mut taken = Taken::AsListed;
    while let Some(key) = rest.rest.next() {
        match key.as_str() {
            "bw" => impairment.rate = units::rate(rest.next("a bandwidth")?)?,
            "delay" => {
                let kind = rest.one_of(&["static", "normal", "poisson", "exponential"]).unwrap_or("static");
                if let Some(note) = delay(kind, &mut rest, &mut impairment)? {
                    taken = Taken::Approximated(note);
                }
            }
            "loss" => {
                let kind = rest.one_of(&["static", "poisson"]).unwrap_or("static");
                impairment.loss = loss(&mut rest)?;
                if let (Some(Loss::Burst { .. }), "static") = (impairment.loss, kind) {
                    taken = Taken::Approximated("drop bursts have the given length on average".to_owned());
                }
            }
            other => {
                return Err(Complaint::error(format!("make-deter-lan knows no {:?}", short(other)))
                    .suggest("it takes bw, delay and loss"));
            }
        }
    }
    Ok((impairment, taken))
}

fn delay(kind: &str, rest: &mut Arguments<'_>, into: &mut Impairment) -> Result<Option<String>, Complaint> {
    let (mut mean, mut deviation) = (Span::ZERO, Span::ZERO);
    while let Some(key) = rest.one_of(&["mean", "std"]) {
        // Without a unit it is milliseconds, as the examples have it.
        let value = units::event_delay(rest.next("a time")?)?;
        if key == "mean" { mean = value } else { deviation = value }
    }
    let mut spread = |spread, distribution| into.jitter = Some(Jitter { spread, distribution });
    match kind {
        "normal" if deviation.is_zero() => {
            return Err(
                Complaint::error("a normal delay without deviation").suggest("give std, like: std 2ms")
            );
        }
        "normal" => spread(deviation, Distribution::Normal),
        "exponential" => {
            spread(mean, Distribution::Exponential);
            into.delay = Span::ZERO;
            return Ok(None);
        }
        // Of whole milliseconds: its deviation is the root of its mean.
        "poisson" if !mean.is_zero() => {
            let milliseconds = (mean.as_nanos() as f64 / 1e6).sqrt();
            spread(Span::from_nanos((milliseconds * 1e6).round() as u64), Distribution::Normal);
            into.delay = mean;
            return Ok(Some("the delay is spread normally, with Poisson's deviation".to_owned()));
        }
        _ => {}
    }
    into.delay = mean;
    Ok(None)
}

fn loss(rest: &mut Arguments<'_>) -> Result<Option<Loss>, Complaint> {
    let (mut enter, mut length) = (Probability::NEVER, 1.0);
    while let Some(key) = rest.one_of(&["threshold", "rate"]) {
        if key == "threshold" {
            enter = units::probability(rest.next("a probability")?)?;
        } else {
            let text = rest.next("a number of packets")?;
            length =
                text.parse::<f64>().ok().filter(|length| length.is_finite() && *length >= 1.0).ok_or_else(
                    || {
                        Complaint::error(format!("{:?} is no number of packets to drop", short(text)))
                            .suggest("give 1 or more")
                    },
                )?;
        }
    }
    if enter.is_never() {
        return Ok(None);
    }
    if length <= 1.0 {
        return Ok(Some(Loss::Random(enter)));
    }
    let leave = Probability::from_ratio(1.0 / length).filter(|leave| !leave.is_never());
    let leave = leave.ok_or_else(|| Complaint::error("a burst of that length never ends"))?;
    Ok(Some(Loss::Burst { enter, leave }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn read(text: &str) -> (Impairment, Taken) {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        impairment(&words).unwrap()
    }

    #[test]
    fn distributions() {
        let (plain, _) = read("");
        assert_eq!(plain.rate.unwrap().to_string(), "1Gbit");
        let (normal, taken) = read("delay normal mean 20ms std 2ms bw 10Mb");
        assert_eq!((normal.delay, taken), (Span::from_millis(20), Taken::AsListed));
        assert_eq!(
            normal.jitter.unwrap(),
            Jitter { spread: Span::from_millis(2), distribution: Distribution::Normal }
        );
        let (exponential, _) = read("delay exponential mean 5");
        assert_eq!(
            (exponential.delay, exponential.jitter.unwrap().spread),
            (Span::ZERO, Span::from_millis(5))
        );
        let (poisson, taken) = read("delay poisson mean 16ms");
        assert_eq!(poisson.jitter.unwrap().spread, Span::from_millis(4));
        assert!(matches!(taken, Taken::Approximated(_)));
        let (bursts, taken) = read("loss poisson threshold 0.01 rate 4");
        assert_eq!(taken, Taken::AsListed);
        assert!((bursts.loss.unwrap().share() - 0.01 / 0.26).abs() < 1e-9);
        assert_eq!(read("loss static threshold 0.01 rate 1").0.loss.unwrap().share(), 0.01);
    }

    #[test]
    fn nonsense() {
        for text in
            ["delay normal mean 5ms", "bw", "colour red", "loss threshold 2", "loss threshold 0.1 rate 0"]
        {
            let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            assert!(impairment(&words).is_err(), "{text}");
        }
    }
}
