//! Every class, method and command of NS, with what becomes of it: the one table that the interpreter's vocabulary, the
//! reading and the documentation come from.

use testyard_tcl::{Method, Vocabulary};

use super::call::{Call, Complaint, Taken};
use super::drafts::Object;
use super::reader::Reader;
use super::{addresses, events, links, nodes, programs, queues};
use crate::import::Treatment;

/// What takes a statement.
pub(super) type Handler = fn(&mut Reader<'_>, &Call<'_>) -> Result<Taken, Complaint>;

/// A row of the table.
pub(super) struct Entry {
    pub(super) on: On,
    pub(super) name: &'static str,
    /// Its arguments, for people.
    pub(super) form: &'static str,
    /// The class of the object that it makes.
    makes: Option<&'static str>,
    pub(super) treatment: Treatment,
    /// What to mind, or why it is ignored.
    pub(super) note: &'static str,
    pub(super) handler: Option<Handler>,
}

impl Entry {
    /// How people write it.
    pub(super) fn title(&self) -> String {
        match self.on {
            On::Command => self.name.to_owned(),
            on => format!("{} {}", on.title(), self.name),
        }
    }
}

/// What a word is said to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum On {
    Command,
    New,
    Simulator,
    Node,
    Link,
    SimplexLink,
    Queue,
    Program,
    Blockstore,
    EventSequence,
    EventTimeline,
    EventGroup,
    Firewall,
    Agent,
}

impl On {
    /// What objects of a class are; none for the class of what nobody knows.
    pub(super) fn of_class(class: &str) -> Option<Self> {
        CLASSES.iter().find(|(_, classes)| classes.contains(&class)).map(|(on, _)| *on)
    }

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Command => "",
            Self::New => "new",
            Self::Simulator => "$ns",
            Self::Node => "$node",
            Self::Link => "$link",
            Self::SimplexLink => "[$ns link A B]",
            Self::Queue => "$queue",
            Self::Program => "$program",
            Self::Blockstore => "$blockstore",
            Self::EventSequence => "$sequence",
            Self::EventTimeline => "$timeline",
            Self::EventGroup => "$group",
            Self::Firewall => "$firewall",
            Self::Agent => "$agent",
        }
    }
}

const CLASSES: &[(On, &[&str])] = &[
    (On::Simulator, &["Simulator"]),
    (On::Node, &["Node"]),
    (On::Link, &["Link", "Lan"]),
    (On::SimplexLink, &["SimplexLink"]),
    (On::Queue, &["Queue"]),
    (On::Program, &["Program"]),
    (On::Blockstore, &["Blockstore"]),
    (On::EventSequence, &["EventSequence"]),
    (On::EventTimeline, &["EventTimeline"]),
    (On::EventGroup, &["EventGroup"]),
    (On::Firewall, &["Firewall"]),
    (On::Agent, &["Agent/UDP", "Agent/Null", "Agent/TCP", "Agent/TCPSink", "Application/Traffic/CBR"]),
];

/// The table by word.
pub(super) struct Words(std::collections::HashMap<(On, &'static str), &'static Entry>);

impl Words {
    pub(super) fn new() -> Self {
        Self(COMMANDS.iter().map(|entry| ((entry.on, entry.name), entry)).collect())
    }

    pub(super) fn method(&self, on: On, name: &str) -> Option<&'static Entry> {
        self.0.get(&(on, name)).copied()
    }

    pub(super) fn class(&self, name: &str) -> Option<&'static Entry> {
        self.method(On::New, name)
    }

    pub(super) fn command(&self, name: &str) -> Option<&'static Entry> {
        self.method(On::Command, name)
    }

    pub(super) fn methods(&self, on: On) -> impl Iterator<Item = &'static str> {
        names(on)
    }

    pub(super) fn classes(&self) -> impl Iterator<Item = &'static str> {
        names(On::New)
    }
}

/// The names of all words of a kind.
pub(super) fn names(on: On) -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().filter(move |entry| entry.on == on).map(|entry| entry.name)
}

/// What the interpreter must know.
pub(super) fn vocabulary() -> Vocabulary {
    let mut vocabulary = Vocabulary {
        commands: names(On::Command).collect(),
        classes: names(On::New).collect(),
        methods: vec![],
    };
    for entry in COMMANDS {
        let classes = CLASSES.iter().find(|(on, _)| *on == entry.on).map_or(&[][..], |(_, classes)| classes);
        let method = |class: &&'static str| Method { class, name: entry.name, makes: entry.makes };
        vocabulary.methods.extend(classes.iter().map(method));
    }
    vocabulary
}

/// The table as the reference has it, a row a line: command, treatment, note.
#[must_use]
pub fn table() -> String {
    let mut text = String::new();
    for entry in COMMANDS {
        let treatment = match entry.treatment {
            Treatment::Honoured => "honoured",
            Treatment::Approximated => "approximated",
            Treatment::Ignored => "ignored",
        };
        let command = format!("{} {}", entry.title(), entry.form).trim_end().replace('|', "\\|");
        text += &format!("| `{command}` | {treatment} | {} |\n", entry.note);
    }
    text
}

fn simulator(reader: &mut Reader<'_>, call: &Call<'_>) -> Result<Taken, Complaint> {
    if std::mem::replace(&mut reader.simulator, true) {
        reader.warn(call.position, "a file has one Simulator; this is taken for the same");
    }
    reader.made(call, Object::Simulator);
    Ok(Taken::AsListed)
}

fn run(reader: &mut Reader<'_>, _: &Call<'_>) -> Result<Taken, Complaint> {
    if std::mem::replace(&mut reader.ran, true) {
        return Err(
            Complaint::error("the simulator runs already").suggest("a file has one $ns run, at its end")
        );
    }
    Ok(Taken::AsListed)
}

const fn row(
    on: On,
    name: &'static str,
    form: &'static str,
    makes: Option<&'static str>,
    handler: Option<Handler>,
    (treatment, note): (Treatment, &'static str),
) -> Entry {
    Entry { on, name, form, makes, treatment, note, handler }
}

const fn honoured(
    on: On,
    name: &'static str,
    form: &'static str,
    makes: Option<&'static str>,
    handler: Option<Handler>,
    note: &'static str,
) -> Entry {
    row(on, name, form, makes, handler, (Treatment::Honoured, note))
}

const fn approximated(
    on: On,
    name: &'static str,
    form: &'static str,
    makes: Option<&'static str>,
    handler: Option<Handler>,
    note: &'static str,
) -> Entry {
    row(on, name, form, makes, handler, (Treatment::Approximated, note))
}

const fn ignored(
    on: On,
    name: &'static str,
    form: &'static str,
    makes: Option<&'static str>,
    handler: Option<Handler>,
    note: &'static str,
) -> Entry {
    row(on, name, form, makes, handler, (Treatment::Ignored, note))
}

/// In the order of deter.md §6.3 and §6.4.
#[rustfmt::skip]
const COMMANDS: &[Entry] = &[
    honoured(On::New, "Simulator", "", Some("Simulator"), Some(simulator), ""),
    honoured(On::New, "Program", "$ns", Some("Program"), Some(programs::new_program), "what it runs and where is set afterwards: `node`, `command`, `dir`, `timeout`, `expected-exit-code`"),
    approximated(On::New, "EventSequence", "$ns", Some("EventSequence"), Some(events::sequence), "its events start in order, without waiting for each other's end"),
    honoured(On::New, "EventTimeline", "$ns", Some("EventTimeline"), Some(events::timeline), ""),
    honoured(On::New, "EventGroup", "$ns", Some("EventGroup"), Some(events::group), ""),
    ignored(On::New, "Firewall", "$ns", Some("Firewall"), None, "there is no firewall node; slices are apart from each other in any case"),
    ignored(On::New, "Agent/UDP", "", Some("Agent/UDP"), None, "there are no traffic agents; run a generator as a program"),
    ignored(On::New, "Agent/Null", "", Some("Agent/Null"), None, "there are no traffic agents; run a generator as a program"),
    ignored(On::New, "Agent/TCP", "", Some("Agent/TCP"), None, "there are no traffic agents; run a generator as a program"),
    ignored(On::New, "Agent/TCPSink", "", Some("Agent/TCPSink"), None, "there are no traffic agents; run a generator as a program"),
    ignored(On::New, "Application/Traffic/CBR", "", Some("Application/Traffic/CBR"), None, "there are no traffic agents; run a generator as a program"),
    honoured(On::Simulator, "node", "", Some("Node"), Some(nodes::node), ""),
    honoured(On::Simulator, "duplex-link", "NODE NODE BANDWIDTH DELAY QUEUE", Some("Link"), Some(links::duplex_link), "queues DropTail, RED, GRED; each direction has the whole delay"),
    honoured(On::Simulator, "make-lan", "\"NODE NODE …\" BANDWIDTH DELAY", Some("Lan"), Some(links::make_lan), "half of the delay before, half behind the switch"),
    honoured(On::Simulator, "make-deter-lan", "\"NODE NODE …\" [bw B] [delay KIND mean D [std S]] [loss KIND threshold P rate R]", Some("Lan"), Some(links::make_deter_lan), "all of it is done to what a node sends; `poisson` delays are approximated by normal ones, bursts of fixed length by bursts of that length on average"),
    honoured(On::Simulator, "make-new-lan", "\"NODE NODE …\" …", Some("Lan"), Some(links::make_deter_lan), "as make-deter-lan"),
    honoured(On::Simulator, "rtproto", "Static", None, Some(addresses::rtproto), "`Static` (also `-ddijk`, `-old`), `Manual`; `Session` and `ospf` run as static routes"),
    honoured(On::Simulator, "run", "", None, Some(run), "what comes behind has no effect"),
    honoured(On::Simulator, "at", "TIME \"OBJECT EVENT …\"", None, Some(events::at), "see the table of events; at `swapout` nothing is done"),
    honoured(On::Simulator, "link", "NODE NODE", Some("SimplexLink"), Some(queues::link), "what the first sends to the second, on the last link made between them"),
    honoured(On::Simulator, "lanlink", "LAN NODE", Some("SimplexLink"), Some(queues::lan_link), "what the node sends to the LAN"),
    honoured(On::Simulator, "cost", "NODE NODE COST", None, Some(addresses::cost_between), "of what the first sends to the second"),
    approximated(On::Simulator, "event-sequence", "{\"OBJECT EVENT …\" …}", Some("EventSequence"), Some(events::sequence), "its events start in order, without waiting for each other's end"),
    honoured(On::Simulator, "event-timeline", "", Some("EventTimeline"), Some(events::timeline), ""),
    honoured(On::Simulator, "event-group", "{OBJECT …}", Some("EventGroup"), Some(events::group), ""),
    honoured(On::Simulator, "blockstore", "", Some("Blockstore"), Some(queues::blockstore), "a folder on the node's disk"),
    honoured(On::Simulator, "define-template-parameter", "NAME VALUE [TEXT]", None, None, "the variable is set; nothing can override it from outside"),
    ignored(On::Simulator, "connect", "AGENT AGENT", None, None, "there are no traffic agents"),
    ignored(On::Simulator, "attach-agent", "NODE AGENT", None, None, "there are no traffic agents"),
    ignored(On::Simulator, "make-cloud", "\"NODE NODE …\" BANDWIDTH DELAY", Some("Null"), None, "there are no clouds; use make-lan"),
    ignored(On::Simulator, "make-path", "\"LINK LINK …\"", Some("Null"), None, "paths are not needed: routes are"),
    ignored(On::Simulator, "bridge", "", Some("Null"), None, "there are no bridge nodes"),
    honoured(On::Node, "program-agent", "-command COMMAND [-dir D] [-timeout T] [-expected-exit-code E]", Some("Program"), Some(programs::program_agent), ""),
    honoured(On::Node, "add-route", "DESTINATION NEXTHOP", None, Some(addresses::add_route), "destination: a node, link, LAN, `[$ns link A B]`, or a network like 10.1.0.0/16; next hop: a neighbour or its address"),
    ignored(On::Node, "add-desire", "FEATURE WEIGHT", None, None, "hosts have no features to prefer"),
    honoured(On::Link, "trace", "[header|packet|monitor] [FILTER]", None, Some(links::trace), "a capture from the start on: 64 bytes of each packet, or 65535; `monitor` is approximated by headers"),
    honoured(On::Link, "trace_snaplen", "BYTES", None, Some(links::trace_snap_length), ""),
    ignored(On::Link, "trace_endnode", "0|1", None, None, "a link is captured where it is realised, not on a node"),
    honoured(On::Link, "cost", "COST", None, Some(addresses::cost), ""),
    honoured(On::SimplexLink, "cost", "COST", None, Some(addresses::cost), ""),
    honoured(On::SimplexLink, "queue", "", Some("Queue"), Some(queues::queue), ""),
    honoured(On::Queue, "set", "VARIABLE VALUE", None, Some(queues::queue_set), "`limit_`, `queue-in-bytes_`, `red_`, `gentle_`, `thresh_`, `maxthresh_`, `q_weight_`, `linterm_`"),
    honoured(On::Program, "set", "VARIABLE VALUE", None, Some(programs::program_set), ""),
    honoured(On::Blockstore, "set-class", "local|SAN", None, Some(queues::store_class), "`SAN` is approximated by `local`"),
    honoured(On::Blockstore, "set-size", "SIZE", None, Some(queues::store_size), "a bare number is MiB"),
    honoured(On::Blockstore, "set-mount-point", "PATH", None, Some(queues::store_mount_point), ""),
    honoured(On::Blockstore, "set-node", "NODE", None, Some(queues::store_node), ""),
    ignored(On::Blockstore, "set-placement", "any|sysvol|nonsysvol", None, None, "a node has one disk"),
    ignored(On::Blockstore, "set-lease", "LEASE", None, None, "data goes with its node"),
    ignored(On::Blockstore, "set-readonly", "0|1", None, None, "data can be written"),
    approximated(On::EventSequence, "append", "\"OBJECT EVENT …\"", None, Some(events::extend), "its events start in order, without waiting for each other's end"),
    honoured(On::EventTimeline, "at", "TIME \"OBJECT EVENT …\"", None, Some(events::extend), ""),
    honoured(On::EventGroup, "add", "OBJECT …", None, Some(events::extend), ""),
    ignored(On::Firewall, "set-type", "TYPE", None, None, "there is no firewall node"),
    ignored(On::Firewall, "set-style", "STYLE", None, None, "there is no firewall node"),
    ignored(On::Firewall, "add-rule", "RULE", None, None, "there is no firewall node"),
    ignored(On::Firewall, "add-numbered-rule", "NUMBER RULE", None, None, "there is no firewall node"),
    ignored(On::Agent, "attach-agent", "AGENT", None, None, "there are no traffic agents"),
    ignored(On::Agent, "set", "VARIABLE VALUE", None, None, "there are no traffic agents"),
    honoured(On::Command, "tb-set-hardware", "NODE TYPE", None, Some(nodes::hardware), "a kind of node of the testbed, or a vtype with one; others are approximated by the default kind"),
    honoured(On::Command, "tb-set-node-os", "NODE IMAGE", None, Some(nodes::image), "a name that the testbed maps to an image, or an image of a registry with tag or path (`debian:12`); others are ignored: the kind's default"),
    honoured(On::Command, "tb-set-node-startcmd", "NODE COMMAND", None, Some(nodes::start_command), "what csh reads otherwise than sh (`>& FILE`, `\\|&`, `setenv A b`) is written for sh; of what else is csh's a warning"),
    honoured(On::Command, "tb-set-node-startup", "NODE COMMAND", None, Some(nodes::start_command), "as tb-set-node-startcmd"),
    ignored(On::Command, "tb-set-node-cmdline", "NODE TEXT", None, None, "nodes share the host's kernel"),
    approximated(On::Command, "tb-set-node-rpms", "NODE URL …", None, Some(nodes::packages), "`rpm -U URL` runs before the start command; paths of a shared file system are ignored"),
    honoured(On::Command, "tb-set-node-tarfiles", "NODE FOLDER URL …", None, Some(nodes::tarfiles), "http and https URLs; paths of a shared file system are ignored"),
    honoured(On::Command, "tb-set-tarfiles", "FOLDER URL …", None, Some(nodes::tarfiles_of_all), "the same on every node"),
    ignored(On::Command, "tb-set-node-loadlist", "NODE IMAGES", None, None, "hosts fetch images when they need them"),
    honoured(On::Command, "tb-set-ip", "NODE ADDRESS", None, Some(addresses::ip), ""),
    honoured(On::Command, "tb-set-ip-link", "NODE LINK ADDRESS", None, Some(addresses::ip_link), ""),
    honoured(On::Command, "tb-set-ip-lan", "NODE LAN ADDRESS", None, Some(addresses::ip_lan), ""),
    honoured(On::Command, "tb-set-ip-interface", "NODE PEER ADDRESS", None, Some(addresses::ip_interface), ""),
    honoured(On::Command, "tb-set-netmask", "LINK MASK", None, Some(addresses::netmask), "of addresses that the file gives, else of the network that is chosen; any from 8 to 30 bits"),
    honoured(On::Command, "tb-set-link-loss", "LINK LOSS", None, Some(links::link_loss), "also `NODE NODE LOSS`; on a LAN the loss between two nodes"),
    honoured(On::Command, "tb-set-lan-loss", "LAN LOSS", None, Some(links::link_loss), ""),
    honoured(On::Command, "tb-set-node-lan-delay", "NODE LAN DELAY", None, Some(links::node_lan_delay), "both ways between node and switch"),
    honoured(On::Command, "tb-set-node-lan-bandwidth", "NODE LAN BANDWIDTH", None, Some(links::node_lan_bandwidth), ""),
    honoured(On::Command, "tb-set-node-lan-loss", "NODE LAN LOSS", None, Some(links::node_lan_loss), ""),
    honoured(On::Command, "tb-set-node-lan-params", "NODE LAN DELAY BANDWIDTH LOSS", None, Some(links::node_lan_params), ""),
    honoured(On::Command, "tb-set-link-simplex-params", "LINK SENDER DELAY BANDWIDTH LOSS", None, Some(links::simplex), ""),
    honoured(On::Command, "tb-set-lan-simplex-params", "LAN NODE DELAY BANDWIDTH LOSS DELAY BANDWIDTH LOSS", None, Some(links::lan_simplex), "first what the node sends, then what it gets"),
    ignored(On::Command, "tb-set-link-est-bandwidth", "…", None, None, "a hint for Emulab's placement"),
    ignored(On::Command, "tb-set-lan-est-bandwidth", "…", None, None, "a hint for Emulab's placement"),
    ignored(On::Command, "tb-set-node-lan-est-bandwidth", "…", None, None, "a hint for Emulab's placement"),
    ignored(On::Command, "tb-set-link-backfill", "…", None, None, "there is no background traffic; run a generator as a program"),
    ignored(On::Command, "tb-set-lan-backfill", "…", None, None, "there is no background traffic; run a generator as a program"),
    ignored(On::Command, "tb-set-node-lan-backfill", "…", None, None, "there is no background traffic; run a generator as a program"),
    ignored(On::Command, "tb-set-link-simplex-backfill", "…", None, None, "there is no background traffic; run a generator as a program"),
    ignored(On::Command, "tb-set-lan-simplex-backfill", "…", None, None, "there is no background traffic; run a generator as a program"),
    honoured(On::Command, "tb-set-noshaping", "LINK 0|1", None, Some(links::no_shaping), "its bandwidth is not enforced"),
    ignored(On::Command, "tb-set-endnodeshaping", "LINK 0|1", None, None, "every link is shaped where it is realised"),
    ignored(On::Command, "tb-use-endnodeshaping", "0|1", None, None, "every link is shaped where it is realised"),
    ignored(On::Command, "tb-force-endnodeshaping", "0|1", None, None, "every link is shaped where it is realised"),
    ignored(On::Command, "tb-set-multiplexed", "LINK 0|1", None, None, "the testbed chooses how links are carried"),
    ignored(On::Command, "tb-set-vlink-emulation", "KIND", None, None, "the testbed chooses how links are carried"),
    ignored(On::Command, "tb-set-link-encap", "LINK KIND", None, None, "the testbed chooses how links are carried"),
    ignored(On::Command, "tb-set-useveth", "0|1", None, None, "the testbed chooses how links are carried"),
    ignored(On::Command, "tb-set-encapsulate", "0|1", None, None, "the testbed chooses how links are carried"),
    ignored(On::Command, "tb-set-link-layer", "LINK LAYER", None, None, "the testbed chooses how links are carried"),
    ignored(On::Command, "tb-set-lan-protocol", "LAN PROTOCOL", None, None, "the testbed chooses how links are carried"),
    ignored(On::Command, "tb-set-link-protocol", "LINK PROTOCOL", None, None, "the testbed chooses how links are carried"),
    ignored(On::Command, "tb-set-lan-accesspoint", "LAN NODE", None, None, "the testbed chooses how links are carried"),
    ignored(On::Command, "tb-set-lan-setting", "LAN KEY VALUE", None, None, "the testbed chooses how links are carried"),
    ignored(On::Command, "tb-set-node-lan-setting", "NODE LAN KEY VALUE", None, None, "the testbed chooses how links are carried"),
    ignored(On::Command, "tb-set-allowcolocate", "LINK 0|1", None, None, "the plan packs nodes by the hosts' capacity"),
    ignored(On::Command, "tb-set-colocate-factor", "NUMBER", None, None, "the plan packs nodes by the hosts' capacity"),
    ignored(On::Command, "tb-set-cpu-usage", "1..5", None, None, "the plan packs nodes by the hosts' capacity"),
    ignored(On::Command, "tb-set-mem-usage", "1..5", None, None, "the plan packs nodes by the hosts' capacity"),
    honoured(On::Command, "tb-make-soft-vtype", "NAME {TYPE …}", None, Some(nodes::vtype), "its first type that the testbed knows is taken"),
    honoured(On::Command, "tb-make-hard-vtype", "NAME {TYPE …}", None, Some(nodes::vtype), "its first type that the testbed knows is taken"),
    honoured(On::Command, "tb-make-weighted-vtype", "NAME WEIGHT {TYPE …}", None, Some(nodes::weighted_vtype), "its first type that the testbed knows is taken; the weight has no effect"),
    honoured(On::Command, "tb-fix-node", "NODE HOST", None, Some(nodes::fix), "a host of the testbed; of a node of the file: the two run on one host"),
    honoured(On::Command, "tb-bind-parent", "NODE HOST", None, Some(nodes::fix), "as tb-fix-node"),
    ignored(On::Command, "tb-fix-interface", "NODE LINK INTERFACE", None, None, "nodes have as many interfaces as links"),
    honoured(On::Command, "tb-set-node-failure-action", "NODE fatal|nonfatal|ignore", None, Some(nodes::failure_action), ""),
    honoured(On::Command, "tb-set-default-failure-action", "fatal|nonfatal|ignore", None, Some(nodes::default_failure_action), ""),
    ignored(On::Command, "tb-set-link-failure-action", "LINK fatal|nonfatal", None, None, "a link that cannot be made is always told, and mended"),
    ignored(On::Command, "tb-set-sync-server", "NODE", None, None, "there is no barrier server"),
    approximated(On::Command, "tb-set-ip-routing", "none|ospf", None, Some(addresses::ip_routing), "an old form of $ns rtproto; `ospf` runs as static routes"),
    ignored(On::Command, "tb-use-ipassign", "0|1", None, None, "addresses are assigned in the order of the file"),
    ignored(On::Command, "tb-set-ipassign-args", "TEXT", None, None, "addresses are assigned in the order of the file"),
    honoured(On::Command, "tb-add-node-attribute", "NODE KEY VALUE", None, Some(nodes::attribute), "`containers:partition` and `containers:image_…` count; others are kept for topdl; of a repeated key the first"),
    honoured(On::Command, "tb-add-network-attribute", "LINK KEY VALUE", None, Some(addresses::network_attribute), "kept for topdl"),
    honoured(On::Command, "tb-add-interface-attribute", "NODE LINK KEY VALUE", None, Some(addresses::interface_attribute), "kept for topdl"),
    ignored(On::Command, "tb-set-node-service", "…", None, None, "nodes have no services of Emulab's"),
    ignored(On::Command, "tb-add-node-service-hook", "…", None, None, "nodes have no services of Emulab's"),
    ignored(On::Command, "tb-set-jail-os", "IMAGE", None, None, "there is no such machine here"),
    ignored(On::Command, "tb-set-delay-os", "IMAGE", None, None, "there is no such machine here"),
    ignored(On::Command, "tb-set-delay-capacity", "NUMBER", None, None, "there is no such machine here"),
    ignored(On::Command, "tb-set-security-level", "LEVEL", None, None, "slices are apart from each other in any case"),
    ignored(On::Command, "tb-set-uselatestwadata", "…", None, None, "there is no wide-area mapping"),
    ignored(On::Command, "tb-set-usewatunnels", "…", None, None, "there is no wide-area mapping"),
    ignored(On::Command, "tb-set-wasolver-weights", "…", None, None, "there is no wide-area mapping"),
    ignored(On::Command, "tb-use-physnaming", "0|1", None, None, "nodes have the names of the file"),
    ignored(On::Command, "tb-fix-current-resources", "0|1", None, None, "what runs stays where it is in any case"),
    ignored(On::Command, "tb-set-node-id", "NODE ID", None, None, "nodes have the names of the file"),
    ignored(On::Command, "tb-set-node-testbed", "NODE TESTBED", None, None, "the file is for one testbed"),
    ignored(On::Command, "tb-allow-external", "NODE …", None, None, "forward a port instead: tb-add-node-attribute NODE testyard:port 80/tcp"),
    ignored(On::Command, "tb-set-dpdb", "…", None, None, "a special purpose of Emulab's"),
    ignored(On::Command, "tb-feedback-vnode", "…", None, None, "a special purpose of Emulab's"),
    ignored(On::Command, "tb-feedback-vlan", "…", None, None, "a special purpose of Emulab's"),
    ignored(On::Command, "tb-feedback-vlink", "…", None, None, "a special purpose of Emulab's"),
    ignored(On::Command, "tb-elabinelab", "…", None, None, "a special purpose of Emulab's"),
    ignored(On::Command, "tb-set-elabinelab-cvstag", "…", None, None, "a special purpose of Emulab's"),
    ignored(On::Command, "tb-set-elabinelab-tarball", "…", None, None, "a special purpose of Emulab's"),
    ignored(On::Command, "tb-set-elabinelab-attribute", "…", None, None, "a special purpose of Emulab's"),
    ignored(On::Command, "tb-set-node-inner-elab-role", "…", None, None, "a special purpose of Emulab's"),
    ignored(On::Command, "tb-set-inner-elab-eid", "…", None, None, "a special purpose of Emulab's"),
    ignored(On::Command, "tb-plab-in-elab", "…", None, None, "a special purpose of Emulab's"),
    ignored(On::Command, "tb-set-node-plab-role", "…", None, None, "a special purpose of Emulab's"),
    ignored(On::Command, "tb-set-node-plab-plcnet", "…", None, None, "a special purpose of Emulab's"),
    ignored(On::Command, "tb-set-modelnet-cores", "…", None, None, "a special purpose of Emulab's"),
    ignored(On::Command, "tb-set-modelnet-edges", "…", None, None, "a special purpose of Emulab's"),
    ignored(On::Command, "tb-set-oml-server", "…", None, None, "a special purpose of Emulab's"),
    ignored(On::Command, "tb-set-oml-use-control", "…", None, None, "a special purpose of Emulab's"),
    ignored(On::Command, "tb-set-node-usesharednode", "…", None, None, "a special purpose of Emulab's"),
    ignored(On::Command, "tb-set-sharing-mode", "…", None, None, "a special purpose of Emulab's"),
    ignored(On::Command, "tb-set-nonfsdirs", "…", None, None, "a special purpose of Emulab's"),
    ignored(On::Command, "tb-set-xen-memory", "…", None, None, "a special purpose of Emulab's"),
];
