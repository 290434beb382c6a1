//! What nodes know of themselves: scripts as they are written for CloudLab, and whoever asks too much.

use std::time::{Duration, Instant};

use crate::support::{Bed, request_with};

/// A profile's start-up script: which node am I, who made this, which other nodes are there. What it finds out is in
/// files, as such scripts leave it.
const SCRIPT: &str = r#"
set -e
cd /root
NODE_ID=$(geni-get client_id)
if [ $NODE_ID = "server" ]; then ROLE=leader; else ROLE=follower; fi
USER=$(geni-get user_urn | awk -F+ '{print $4}')
SLICE=$(/usr/bin/geni-get slice_urn | awk -F+ '{print $NF}')
geni-get -n manifest > manifest.xml
COUNT=$(geni-get -a | grep -Po 'host name=\\".*?\\"' | sort | uniq | wc -l)
MAC=$(geni-get control_mac | sed -e 's/\([0-9a-f]\{2\}\)/\1:/g' -e 's/\(.*\):$/\1/')
MAIL=$(geni-get -s boss.example.net slice_email)
if geni-get key > key 2> key.reason; then exit 7; fi
echo "$ROLE $USER $SLICE $COUNT $MAC [$MAIL]" > found
env > environment
"#;

/// The script as an attribute of a request.
fn attribute(script: &str) -> String {
    let escaped = [("&", "&amp;"), ("\"", "&quot;"), ("<", "&lt;"), (">", "&gt;"), ("\n", "&#10;")];
    escaped.iter().fold(script.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[test]
fn e2e_scripts_of_other_testbeds_find_what_they_ask_for() {
    let mut bed = Bed::new();
    let execute = format!("<services><execute shell=\"sh\" command=\"{}\"/></services>", attribute(SCRIPT));
    let file = bed.file("facts.rspec", &request_with(&[("server", &execute), ("client", &execute)]));
    bed.ok(&format!("am up {file} --slice demo"));
    for (node, role) in [("server", "leader"), ("client", "follower")] {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !bed.ssh_succeeds("demo", node, "sudo test -s /root/environment") {
            let status = bed.status("demo");
            assert!(Instant::now() < deadline, "{status:#?}");
        }
        let mac = bed.ssh("demo", node, "cat /sys/class/net/eth0/address");
        let found = bed.ssh("demo", node, "sudo cat /root/found");
        assert_eq!(found.trim(), format!("{role} ann demo 2 {} []", mac.trim()));
        let reason = bed.ssh("demo", node, "sudo cat /root/key.reason");
        assert!(reason.starts_with("geni-get: key: it is a secret"), "{reason}");
        assert!(bed.ssh_succeeds("demo", node, "sudo test ! -s /root/key"));
        let manifest = bed.ssh("demo", node, "sudo cat /root/manifest.xml");
        assert!(
            manifest.contains("type=\"manifest\"") && manifest.contains("client_id=\"server\""),
            "{manifest}"
        );
        // Time zone and locale are the image's business.
        let environment = bed.ssh("demo", node, "sudo cat /root/environment");
        let ours =
            |line: &str| ["TZ=", "LANG=", "LC_", "LANGUAGE="].iter().any(|name| line.starts_with(name));
        assert!(!environment.lines().any(ours), "{environment}");
    }

    // Every user of the node may ask, and hears what the testbed's own callers hear.
    let sliver = bed.status("demo").into_iter().find(|sliver| sliver["client_id"] == "server").unwrap();
    let urn = bed.ssh("demo", "server", "geni-get sliver_urn");
    assert_eq!(urn.trim(), sliver["urn"].as_str().unwrap());
    let status: serde_json::Value =
        serde_json::from_str(&bed.ssh("demo", "server", "geni-get status")).unwrap();
    assert!(
        status["geni_slivers"]
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["geni_operational_status"] == "geni_ready")
    );
    let old: serde_json::Value =
        serde_json::from_str(&bed.ssh("demo", "server", "geni-get sliverstatus")).unwrap();
    assert_eq!((&old["geni_status"], old["geni_resources"].as_array().unwrap().len()), (&"ready".into(), 2));
    let version: serde_json::Value =
        serde_json::from_str(&bed.ssh("demo", "server", "geni-get getversion")).unwrap();
    assert_eq!(version["geni_api"], 3);
    let users: serde_json::Value =
        serde_json::from_str(&bed.ssh("demo", "server", "geni-get geni_user")).unwrap();
    assert_eq!(users[0]["login"], "ann");
    assert!(users[0]["keys"][0].as_str().unwrap().starts_with("ssh-"));
    let table = bed.ssh("demo", "server", "/.testyard/bin/testyard-guest facts");
    assert!(table.contains("client_id     server\n") && table.contains("ann (urn:publicid:"), "{table}");
    let nobody = "sudo -u nobody /.testyard/bin/geni-get client_id";
    assert_eq!(bed.ssh("demo", "server", nobody).trim(), "server");

    // Who asks without end is slowed; the node, its reports and the others go on.
    bed.ssh("demo", "server", "for i in $(seq 40); do (while geni-get manifest; do :; done) > /dev/null 2>&1 & done; sleep 3; kill $(jobs -p); true");
    assert_eq!(bed.ssh("demo", "client", "geni-get client_id").trim(), "client");
    assert!(bed.ssh("demo", "client", "geni-get manifest").contains("<rspec"));
    bed.wait("demo", "geni_ready");

    // The agent comes back: nodes are told on.
    bed.testbed().kill();
    bed.testbed().serve();
    bed.wait("demo", "geni_ready");
    assert!(bed.ssh("demo", "server", "geni-get manifest").contains("<rspec"));
}
