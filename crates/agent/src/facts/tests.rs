//! Questions of honest guests and of floods, on tokio's clock.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// Knows a text for each fact, slowly if asked to.
struct Known {
    length: usize,
    takes: Duration,
    at_work: AtomicUsize,
    most: AtomicUsize,
}

impl Known {
    fn new(length: usize, takes: Duration) -> Arc<Self> {
        Arc::new(Self { length, takes, at_work: AtomicUsize::new(0), most: AtomicUsize::new(0) })
    }
}

#[async_trait]
impl Facts for Known {
    async fn fact(&self, _: SliceId, _: SliverId, fact: Fact) -> Result<String, NoFact> {
        let now = self.at_work.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        tokio::time::sleep(self.takes).await;
        self.at_work.fetch_sub(1, Ordering::SeqCst);
        match fact {
            Fact::Status => Err(NoFact("none now".into())),
            fact => Ok(fact.as_str().chars().cycle().take(self.length).collect()),
        }
    }
}

fn asker(desk: &Arc<Desk>) -> Asker {
    Asker { desk: Some(Arc::clone(desk)), ..Asker::nobody() }
}

fn ask(id: u64, what: &str) -> Ask {
    Ask { id, what: what.to_owned() }
}

/// A connection whose questions are answered.
fn connect(asker: &Asker) -> Exchange {
    let (exchange, answering) = asker.begin();
    tokio::spawn(answering);
    exchange
}

#[tokio::test(start_paused = true)]
async fn answers_bring_their_numbers_back() {
    let desk = Desk::new(Known::new(10, Duration::ZERO));
    let mut exchange = connect(&asker(&desk));
    for (id, what, answer) in [
        (7, "manifest", Answer::Text("manifestma".into())),
        (8, "status", Answer::Refused("none now".into())),
        (9, "passwd", Answer::Refused("this testbed does not tell it to its nodes".into())),
        (9, &"manifest".repeat(100), Answer::Refused("this testbed does not tell it to its nodes".into())),
    ] {
        exchange.questions.send(ask(id, what)).await.unwrap();
        assert_eq!(exchange.answers.recv().await.unwrap().told, Told { id, answer });
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_is_slowed_over_however_many_connections() {
    let desk = Desk::new(Known::new(1000, Duration::ZERO));
    let asker = asker(&desk);
    let begun = Instant::now();
    let mut answered = 0;
    while begun.elapsed() < Duration::from_secs(60) {
        let mut exchange = connect(&asker);
        for id in 0..50 {
            if exchange.questions.send(ask(id, "manifest")).await.is_err() {
                break;
            }
            exchange.answers.recv().await.unwrap();
            answered += 1;
        }
    }
    assert!((100..600).contains(&answered), "{answered} answers in a minute");
}

#[tokio::test(start_paused = true)]
async fn many_nodes_ask_and_few_searches_run_at_once() {
    let known = Known::new(10, Duration::from_millis(100));
    let desk = Desk::new(Arc::clone(&known) as Arc<dyn Facts>);
    let mut exchanges: Vec<Exchange> = (0..40).map(|_| connect(&asker(&desk))).collect();
    for exchange in &exchanges {
        exchange.questions.send(ask(1, "manifest")).await.unwrap();
    }
    for exchange in &mut exchanges {
        assert!(matches!(exchange.answers.recv().await.unwrap().told.answer, Answer::Text(_)));
    }
    assert_eq!(known.most.load(Ordering::SeqCst), AT_ONCE);
    // Who takes too long is told so, and does not keep others for ever.
    let slow = Desk::new(Known::new(10, SEARCH * 2));
    let mut exchange = connect(&asker(&slow));
    exchange.questions.send(ask(1, "manifest")).await.unwrap();
    assert!(
        matches!(exchange.answers.recv().await.unwrap().told.answer, Answer::Refused(why) if why.contains("try again"))
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_on_its_way_takes_bounded_memory() {
    let desk = Desk::new(Known::new(2 << 20, Duration::ZERO));
    let mut exchanges: Vec<Exchange> = (0..60).map(|_| connect(&asker(&desk))).collect();
    for exchange in &exchanges {
        exchange.questions.send(ask(1, "manifest")).await.unwrap();
    }
    // Nobody reads: 32 answers of 2 MiB fill the room, the others are refused in time.
    tokio::time::sleep(SEARCH * 30).await;
    let mut texts = Vec::new();
    for exchange in &mut exchanges {
        let sent = exchange.answers.recv().await.unwrap();
        if matches!(sent.told.answer, Answer::Text(_)) {
            texts.push(sent);
        }
    }
    assert_eq!(texts.len(), ON_THE_WAY / (2 << 10));
    drop(texts);
    assert_eq!(desk.on_the_way.available_permits(), ON_THE_WAY);
    // An answer that no message holds is refused and needs no room.
    let desk = Desk::new(Known::new(4 << 20, Duration::ZERO));
    let mut exchange = connect(&asker(&desk));
    exchange.questions.send(ask(1, "manifest")).await.unwrap();
    assert!(matches!(exchange.answers.recv().await.unwrap().told.answer, Answer::Refused(_)));
}
