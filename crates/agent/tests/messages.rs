//! The protocol between controllers and agents is what it was: each message in `tests/messages` was said by some version, and
//! is read, and said again, as it was. `UPDATE_MESSAGES=1` writes those that are new; what changes is another version.

#![expect(clippy::unwrap_used, reason = "what helps a test fails as the test does")]

use std::collections::BTreeSet;
use std::fs;
use std::num::NonZeroU32;
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use testyard_agent::observed::{LinksSeen, Phase, ScheduleSeen};
use testyard_agent::probe::{Path, Probe};
use testyard_agent::remote::message::{Answer, Call, FromAgent, Greeting, Reply, ToAgent, Versions};
use testyard_agent::{
    Fact, HostConfig, HostError, HostFacts, NoFact, PoolSettings, RegistryAccess, desired, observed,
};
use testyard_fabric::capture::{CaptureEnd, CaptureError, CaptureRequest, CapturedLinks, EndReason};
use testyard_fabric::links::{Beyond, FarEnd, HostLink, LinkEnd, PortId};
use testyard_fabric::{ControlAddress, Emulator, FabricError, Forward};
use testyard_model::host::HostLimits;
use testyard_model::host_table::{HostTable, NamedNode, NamedPlace};
use testyard_model::id::{Revision, SliceId, SliceTag, SliverId};
use testyard_model::impairment::Impairment;
use testyard_model::link::LinkKind;
use testyard_model::probe::{Arrival, ClockDomain, Lateness, Others, Probed, Samples, Train};
use testyard_model::quantity::Span;
use testyard_model::service::Services;
use testyard_model::sliver_type::{Limits, Privileges, RuntimeKind};
use uuid::Uuid;

fn slice() -> SliceId {
    SliceId::from_uuid(Uuid::from_u128(0x51))
}

fn sliver(number: u128) -> SliverId {
    SliverId::from_uuid(Uuid::from_u128(number))
}

fn port(number: u128) -> PortId {
    PortId { node: sliver(number), device: "eth1".into() }
}

fn config() -> Box<HostConfig> {
    let pool = PoolSettings {
        size: 3,
        runtime: RuntimeKind::Docker,
        image: "debian:12".parse().unwrap(),
        limits: Limits::default(),
        privileges: Privileges::default(),
    };
    let registry =
        RegistryAccess { host: "r.example.net".into(), user: "u".into(), password: "open sesame".into() };
    Box::new(HostConfig {
        instance: "main".parse().unwrap(),
        domain: "am.example.net".into(),
        pretends: false,
        docker: "/var/run/docker.sock".into(),
        registries: vec![registry],
        ipv4: "10.77.0.0/16".parse().unwrap(),
        ipv6: Some("2001:db8::/64".parse().unwrap()),
        ipv6_proxy: true,
        denied: vec!["169.254.0.0/16".parse().unwrap()],
        name_servers: vec!["192.0.2.53".parse().unwrap()],
        tunnel_port: 14_789,
        emulator: Emulator::Wire,
        install_limits: (1 << 30, 4 << 30),
        images: testyard_agent::ImageSettings::default(),
        pool: Some(pool),
    })
}

fn desired() -> Box<desired::Slice> {
    let end = |number| LinkEnd {
        port: port(number),
        to_link: Impairment::default(),
        from_link: Impairment::default(),
    };
    let node = desired::Node {
        sliver: sliver(1),
        client_id: "alice".parse().unwrap(),
        hostname: "alice".parse().unwrap(),
        runtime: RuntimeKind::Docker,
        image: "debian:12".parse().unwrap(),
        limits: Limits::default(),
        privileges: Privileges::default(),
        power: desired::Power::On,
        boot: 2,
        disk: 1,
        address: ControlAddress { ipv4: [10, 77, 0, 2].into(), ipv6: Some("2001:db8::2".parse().unwrap()) },
        forwards: vec![Forward { host_port: 12_000, port: "22".parse().unwrap() }],
        host_keys: Vec::new(),
        accounts_revision: 3,
        accounts: Vec::new(),
        services: Services::default(),
        storage: Vec::new(),
        programs: Vec::new(),
        network: desired::NodeNetwork::default(),
    };
    let link = HostLink {
        sliver: sliver(9),
        name: "l0".into(),
        kind: LinkKind::PointToPoint,
        up: true,
        mtu: 1500,
        seed: 7,
        is_seed_chosen: false,
        ends: vec![end(1), end(2)],
        beyond: None,
        capture: None,
    };
    Box::new(desired::Slice {
        slice: slice(),
        tag: SliceTag(NonZeroU32::MIN),
        name: "demo".into(),
        about: desired::About {
            urn: "urn:publicid:IDN+a+slice+demo".parse().unwrap(),
            creator: "urn:publicid:IDN+a+user+ann".parse().unwrap(),
            testbed: "testbed.example.net".parse().unwrap(),
        },
        revision: Revision(4),
        nodes: vec![node],
        host_tables: Vec::new(),
        links: vec![link],
        environment: Vec::new(),
        schedule: Some(desired::Run {
            number: 1,
            zero: "2026-11-23T05:00:00Z".parse().unwrap(),
            events: vec![desired::HostEvent {
                event: 0,
                at: Span::from_millis(1_500),
                action: desired::HostAction::Link { link: sliver(9), change: desired::LinkChange::Down },
            }],
        }),
    })
}

fn observed() -> Box<observed::Slice> {
    let mut node = observed::Node::waiting(sliver(1));
    node.phase = Phase::Failed;
    node.problem = Some("the image is not there".into());
    Box::new(observed::Slice {
        slice: slice(),
        revision: Revision(4),
        nodes: vec![node],
        links: LinksSeen::Failed("no room".into()),
        schedule: Some(ScheduleSeen {
            number: 1,
            done: 0,
            late_ms_max: 0,
            late: 0,
            recent: Vec::new(),
            notice: None,
        }),
        images: Vec::new(),
    })
}

/// The same, of a slice with an image of a URL.
fn making() -> Box<observed::Slice> {
    let made = observed::Made {
        url: "https://files.example.net/lab/Dockerfile".parse().expect("a URL"),
        content: Some("0f".repeat(32).parse().expect("a content")),
        state: observed::MadeState::Making("step 2/3: RUN make".into()),
        log: "Step 2/3 : RUN make\n".into(),
    };
    let mut slice = observed();
    slice.nodes[0].making = Some("step 2/3: RUN make".into());
    slice.images = vec![made];
    slice
}

/// The desired state of a node that boots an image of a URL.
fn of_url() -> Box<desired::Slice> {
    let mut slice = desired();
    slice.nodes[0].image = "https://files.example.net/lab/Dockerfile".parse().expect("a URL");
    slice
}

/// The desired state of a node whose names are in a table. From version 3 on.
fn named() -> Box<desired::Slice> {
    let mut slice = desired();
    let place =
        NamedPlace { link: 2, addresses: vec![[10, 1, 1, 2].into()], names: "alice-l0 alice-0".into() };
    let alice = NamedNode { hostname: "alice".parse().unwrap(), places: vec![place] };
    slice.host_tables = vec![HostTable::new(vec![alice])];
    slice.nodes[0].network.named = Some(desired::Named { table: 0, node: 0 });
    slice
}

fn samples() -> Samples {
    let clock = ClockDomain("0b1f".into());
    Samples {
        sender: clock.clone(),
        receiver: clock,
        sent: vec![1_000, 2_000],
        arrivals: vec![Arrival { number: 0, at: 1_500, damaged: true }],
        refused: 0,
        overrun: 0,
        late: Lateness::of(vec![3, 300_000]),
        clock_was_set: false,
        doubt: 0,
        others: Others::default(),
    }
}

/// Each is named once; who adds one to the protocol adds it here, or this does not compile.
fn of_call(call: &Call) -> &'static str {
    match call {
        Call::Sync { .. } => "sync",
        Call::Apply(_) => "apply",
        Call::Observe(_) => "observe",
        Call::Capture { .. } => "capture",
        Call::TryFilter(_) => "try-filter",
        Call::Probe { .. } => "probe",
        Call::Facts => "facts",
    }
}

fn to_agent(message: &ToAgent) -> String {
    let name = match message {
        ToAgent::Config(_) => "config",
        ToAgent::Alive => "alive",
        ToAgent::Part(_) => "part",
        ToAgent::Call { call, .. } => return format!("to-agent-call-{}", of_call(call)),
        ToAgent::Ahead(_) => "ahead",
        ToAgent::Credit { .. } => "credit",
        ToAgent::End { .. } => "end",
        ToAgent::Told { answer: Ok(_), .. } => "told",
        ToAgent::Told { answer: Err(_), .. } => "told-nothing",
    };
    format!("to-agent-{name}")
}

fn of_answer(answer: &Answer) -> &'static str {
    match answer {
        Answer::Done(Ok(())) => "done",
        Answer::Done(Err(_)) => "not-done",
        Answer::Observed(Ok(Some(_))) => "observed",
        Answer::Observed(Ok(None)) => "observed-nothing",
        Answer::Observed(Err(_)) => "not-observed",
        Answer::Capture(Ok(())) => "capture",
        Answer::Capture(Err(CaptureError::NotJoined { .. })) => "capture-not-joined",
        Answer::Capture(Err(CaptureError::NoLink { .. })) => "capture-no-link",
        Answer::Capture(Err(CaptureError::TooMany { .. })) => "capture-too-many",
        Answer::Capture(Err(CaptureError::Memory { .. })) => "capture-memory",
        Answer::Capture(Err(CaptureError::Filter { .. })) => "capture-filter",
        Answer::Capture(Err(CaptureError::Fabric(_))) => "capture-fabric",
        Answer::Probed(Ok(_)) => "probed",
        Answer::Probed(Err(_)) => "not-probed",
        Answer::Facts(Ok(_)) => "facts",
        Answer::Facts(Err(_)) => "no-facts",
    }
}

fn from_agent(message: &FromAgent) -> String {
    let name = match message {
        FromAgent::Alive => "alive",
        FromAgent::Unable(_) => "unable",
        FromAgent::Answer { answer, .. } => return format!("from-agent-answer-{}", of_answer(answer)),
        FromAgent::Seen(_) => "seen",
        FromAgent::Ended { .. } => "ended",
        FromAgent::Ask { .. } => "ask",
    };
    format!("from-agent-{name}")
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/messages")
}

/// Whether one value says all that another does; objects may say more, since fields come.
fn says(said: &Value, wanted: &Value) -> bool {
    match (said, wanted) {
        (Value::Object(said), Value::Object(wanted)) => {
            wanted.iter().all(|(name, wanted)| said.get(name).is_some_and(|said| says(said, wanted)))
        }
        (Value::Array(said), Value::Array(wanted)) => {
            said.len() == wanted.len() && said.iter().zip(wanted).all(|(said, wanted)| says(said, wanted))
        }
        (said, wanted) => said == wanted,
    }
}

/// A slice of which a part is on another host.
fn across() -> Box<desired::Slice> {
    let mut slice = desired();
    let far = FarEnd { port: port(2), is_first: false };
    slice.links[0].ends.truncate(1);
    slice.links[0].beyond = Some(Beyond {
        vni: 77.try_into().unwrap(),
        local: [192, 0, 2, 1].into(),
        peers: [[192, 0, 2, 2].into()].into(),
        far: Some(far),
    });
    slice
}

/// Holds a message against its file, and the file against its meaning.
fn check<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(name: String, message: &T) -> String {
    let path = folder().join(format!("{name}.json"));
    let said = serde_json::to_value(message).unwrap();
    if std::env::var_os("UPDATE_MESSAGES").is_some() && !path.exists() {
        fs::create_dir_all(folder()).unwrap();
        fs::write(&path, serde_json::to_string_pretty(&said).unwrap() + "\n").unwrap();
    }
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let read: T = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(read, *message, "{name}");
    assert!(says(&said, &serde_json::from_str(&text).unwrap()), "{name}: {said} for {text}");
    // Who knows more says more, and is understood.
    let mut more: Value = said;
    if let Some(value) = more.get_mut("value").and_then(Value::as_object_mut) {
        value.insert("of_a_later_version".into(), Value::from(7));
        assert_eq!(serde_json::from_value::<T>(more).unwrap(), *message, "{name}");
    }
    name
}

#[test]
fn messages_are_what_they_were() {
    let call = |call| ToAgent::Call { id: 8, call };
    let answer = |answer| FromAgent::Answer { id: 8, answer };
    let lost = || HostError("the engine is gone".into());
    let train =
        Train { frames: 2, length: 64, interval: Span::from_micros(1), patience: Span::from_millis(5) };
    let probes = vec![
        Probe { path: Path::Reference, train, greeting: false },
        Probe { path: Path::Link { from: port(1), to: port(2) }, train, greeting: true },
    ];
    let request = CaptureRequest {
        links: CapturedLinks::One(sliver(9)),
        filter: Some("tcp".into()),
        names: [(sliver(1), "alice".to_owned())].into(),
        ..CaptureRequest::default()
    };
    let filter = CaptureError::Filter { expression: "tcp prot".into(), reason: "syntax error".into() };
    let end = CaptureEnd { reason: EndReason::Failed("no room".into()), received: 5, dropped: 1 };
    let facts = HostFacts { engines: vec!["Docker".into()], healthy: true, limits: HostLimits::UNKNOWN };
    let to = [
        ToAgent::Config(config()),
        ToAgent::Alive,
        ToAgent::Part(desired()),
        call(Call::Sync { slices: 1 }),
        call(Call::Apply(desired())),
        call(Call::Observe(slice())),
        call(Call::Capture { slice: slice(), request }),
        call(Call::TryFilter("tcp".into())),
        call(Call::Probe { slice: slice(), probes }),
        call(Call::Facts),
        ToAgent::Ahead(vec![testyard_agent::Ahead {
            runtime: RuntimeKind::Docker,
            image: "debian:12".parse().unwrap(),
        }]),
        ToAgent::Credit { id: 8, bytes: 65_536 },
        ToAgent::End { id: 8 },
        ToAgent::Told { id: 8, answer: Ok("<rspec/>".into()) },
        ToAgent::Told { id: 8, answer: Err(NoFact("there is none".into())) },
    ];
    let from = [
        FromAgent::Alive,
        FromAgent::Unable("the guest program is not there".into()),
        answer(Answer::Done(Ok(()))),
        answer(Answer::Done(Err(lost()))),
        answer(Answer::Observed(Ok(Some(observed())))),
        answer(Answer::Observed(Ok(None))),
        answer(Answer::Observed(Err(lost()))),
        answer(Answer::Capture(Ok(()))),
        answer(Answer::Capture(Err(CaptureError::NotJoined { slice: slice() }))),
        answer(Answer::Capture(Err(CaptureError::NoLink { slice: slice(), link: sliver(9) }))),
        answer(Answer::Capture(Err(CaptureError::TooMany { slice: slice() }))),
        answer(Answer::Capture(Err(CaptureError::Memory { taken: 9, limit: 8 }))),
        answer(Answer::Capture(Err(filter))),
        answer(Answer::Capture(Err(FabricError::Lacking("no tcpdump".into()).into()))),
        answer(Answer::Probed(Ok(vec![Probed::Sent(samples()), Probed::Failed("gone".into())]))),
        answer(Answer::Probed(Err(lost()))),
        answer(Answer::Facts(Ok(facts))),
        answer(Answer::Facts(Err(lost()))),
        FromAgent::Seen(observed()),
        FromAgent::Ended { id: 8, end },
        FromAgent::Ask { id: 8, slice: slice(), sliver: sliver(1), fact: Fact::Manifest },
    ];
    // What the first version said.
    let greeting = Greeting {
        versions: Versions { least: 1, most: 1 },
        program: "testyard 0.1.0".into(),
        instance: Uuid::nil(),
    };
    let welcome = Reply::Welcome { version: 1, program: "testyard 0.1.0".into() };
    let refused = Reply::Refused("upgrade".into());
    let mut names: BTreeSet<String> = [
        check("greeting".into(), &greeting),
        check("reply-welcome".into(), &welcome),
        check("reply-refused".into(), &refused),
    ]
    .into();
    names.extend(to.iter().map(|message| check(to_agent(message), message)));
    names.extend(from.iter().map(|message| check(from_agent(message), message)));
    assert_eq!(names.len(), 3 + to.len() + from.len(), "one of each");
    // What came later.
    let mac = "02:00:00:00:00:02".parse().unwrap();
    let halves = vec![
        Probe { path: Path::Out { from: port(1), to: mac, meeting: 5 }, train, greeting: false },
        Probe { path: Path::In { from: mac, to: port(1), meeting: 5 }, train, greeting: false },
        Probe { path: Path::Clock, train, greeting: false },
    ];
    let later = [
        (
            "to-agent-config-tunnels",
            ToAgent::Config(Box::new(HostConfig { tunnel_port: 4_789, ..*config() })),
        ),
        ("to-agent-call-apply-across", call(Call::Apply(across()))),
        ("to-agent-call-probe-across", call(Call::Probe { slice: slice(), probes: halves })),
        (
            "to-agent-ahead-url",
            ToAgent::Ahead(vec![testyard_agent::Ahead {
                runtime: RuntimeKind::Docker,
                image: "https://files.example.net/lab/Dockerfile".parse().unwrap(),
            }]),
        ),
        ("to-agent-call-apply-named", call(Call::Apply(named()))),
        ("to-agent-call-apply-image-of-url", call(Call::Apply(of_url()))),
    ];
    names.extend(later.iter().map(|(name, message)| check((*name).to_owned(), message)));
    names.insert(check("from-agent-seen-making".to_owned(), &FromAgent::Seen(making())));
    let files = fs::read_dir(folder()).unwrap().map(|file| file.unwrap().path());
    let files: BTreeSet<String> =
        files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(files, names, "what was said once is read for ever");
}
