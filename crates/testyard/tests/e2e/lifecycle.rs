//! A slice from Allocate to Delete.

use std::time::{Duration, Instant};

use crate::support::{Bed, request};

#[test]
fn e2e_from_an_rspec_to_ssh() {
    let mut bed = Bed::new();
    let file = bed.file("two.rspec", &request(&["left", "right"]));
    bed.ok(&format!("am allocate demo {file}"));
    assert!(bed.status("demo").iter().all(|sliver| sliver["allocation"] == "geni_allocated"));
    bed.ok("am provision demo --wait");
    for node in ["left", "right"] {
        assert_eq!(
            bed.ssh("demo", node, "hostname; id -un; sudo -n id -u").split_whitespace().collect::<Vec<_>>(),
            [node, "ann", "0"]
        );
    }
    let manifest = bed.manifest("demo");
    assert!(
        manifest.contains("type=\"manifest\"") && manifest.contains("authentication=\"ssh-keys\""),
        "{manifest}"
    );
    bed.ok("am delete demo");
    let (code, error) = bed.fails("am status demo");
    assert!(code == 1 && error.contains("12"), "{code} {error}");
}

#[test]
fn e2e_actions_keep_and_replace_disks() {
    let mut bed = Bed::new();
    bed.up("demo", &["one"]);
    let keys = |bed: &mut Bed| bed.ssh("demo", "one", "cat /etc/ssh/ssh_host_*_key.pub | sort");
    let before = keys(&mut bed);
    let boot = |bed: &mut Bed| bed.ssh("demo", "one", "sudo stat -c %Y /proc/1");
    let first_boot = boot(&mut bed);
    bed.ssh("demo", "one", "echo kept > kept; sync");

    bed.ok("am perform demo geni_restart --wait");
    assert_eq!(bed.ssh("demo", "one", "cat kept").trim(), "kept");
    assert!(boot(&mut bed) >= first_boot);

    bed.ok("am perform demo geni_stop --wait");
    assert!(!bed.ssh_succeeds("demo", "one", "true"));
    bed.ok("am perform demo geni_start --wait");
    assert_eq!(bed.ssh("demo", "one", "cat kept").trim(), "kept");

    bed.ok("am perform demo geni_reload --wait");
    assert!(!bed.ssh_succeeds("demo", "one", "test -e kept"));
    assert_eq!(keys(&mut bed), before, "host keys are kept over restart and reload");
}

#[test]
fn e2e_back_to_back_actions_right_after_provision() {
    let mut bed = Bed::new();
    let file = bed.file("one.rspec", &request(&["one"]));
    bed.ok(&format!("am allocate demo {file}"));
    bed.ok("am provision demo");
    for action in ["geni_start", "geni_restart", "geni_stop", "geni_start"] {
        bed.ok(&format!("am perform demo {action}"));
    }
    for action in ["random_action", "geni_"] {
        assert_eq!(bed.fails(&format!("am perform demo {action}")).0, 1);
    }
    bed.wait("demo", "geni_ready");
}

#[test]
fn e2e_users_get_exactly_their_keys() {
    let mut bed = Bed::new();
    bed.up("demo", &["one"]);
    let folder = bed.testbed().folder().to_owned();
    let key = folder.join("second");
    let path = key.to_string_lossy().into_owned();
    crate::support::run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", "two", "-f", &path]);
    let bob = "urn:publicid:IDN+localhost+user+root";
    bed.ok(&format!("am perform demo geni_update_users --user {bob}={path}.pub --wait"));
    let deadline = Instant::now() + Duration::from_secs(20);
    // A user called root gets an account of another name, and never root's.
    let logins = loop {
        let logins = bed.ssh("demo", "one", "getent passwd | awk -F: '$3 >= 1000 && $3 < 60000 {print $1}'");
        if logins.lines().count() == 2 || Instant::now() > deadline {
            break logins;
        }
    };
    let other = logins.lines().find(|login| *login != "ann").unwrap_or_else(|| panic!("{logins}")).to_owned();
    assert_ne!(other, "root");
    let authorized = bed.ssh("demo", "one", &format!("sudo cat ~{other}/.ssh/authorized_keys"));
    assert_eq!(authorized.trim(), std::fs::read_to_string(format!("{path}.pub")).unwrap().trim());
}

#[test]
fn e2e_a_second_allocate_adds_and_clashing_names_are_refused() {
    let mut bed = Bed::new();
    bed.up("demo", &["one"]);
    let two = bed.file("two.rspec", &request(&["two"]));
    bed.ok(&format!("am allocate demo {two}"));
    let (code, error) = bed.fails(&format!("am allocate demo {two}"));
    assert!(code == 1 && error.contains("two"), "{error}");
    bed.ok("am provision demo --wait");
    assert_eq!(bed.ssh("demo", "two", "hostname").trim(), "two");
    let manifest = bed.manifest("demo");
    assert!(manifest.contains("client_id=\"one\"") && manifest.contains("client_id=\"two\""));
    let urn = bed.status("demo")[0]["urn"].as_str().unwrap().to_owned();
    bed.ok(&format!("am delete demo --sliver {urn}"));
    assert_eq!(bed.status("demo").len(), 1);
}

#[test]
fn e2e_shutdown_closes_a_slice() {
    let mut bed = Bed::new();
    bed.up("demo", &["one"]);
    bed.ok("am shutdown demo");
    let (_, error) = bed.fails("am status demo");
    assert!(error.contains("shut down"), "{error}");
    let file = bed.file("again.rspec", &request(&["again"]));
    assert!(bed.fails(&format!("am allocate demo {file}")).1.contains("shut down"));
}

#[test]
fn e2e_expiry_to_the_second() {
    let mut bed = Bed::new();
    bed.up("demo", &["one"]);
    bed.ok("am renew demo +4s");
    let renewed = Instant::now();
    assert_eq!(bed.status("demo").len(), 1);
    while bed.testbed().run(["am", "status", "demo"]).status.success() {
        assert!(renewed.elapsed() < Duration::from_secs(8), "it has not expired");
        std::thread::park_timeout(Duration::from_millis(50));
    }
    assert!(renewed.elapsed() > Duration::from_millis(2500), "it expired too soon");
    let instance = bed.testbed().instance().to_owned();
    let deadline = Instant::now() + Duration::from_secs(10);
    while testyard_testkit::leaks::find(Some(&instance)).iter().any(|left| left.starts_with("container")) {
        assert!(Instant::now() < deadline, "the container of an expired sliver is left");
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

#[test]
fn e2e_a_containers_death_shows_within_two_seconds() {
    let mut bed = Bed::new();
    bed.up("demo", &["one"]);
    let instance = bed.testbed().instance().to_owned();
    let filter = format!("label=testyard.instance={instance}");
    let container = crate::support::run("docker", &["ps", "--quiet", "--filter", &filter]);
    crate::support::run("docker", &["rm", "--force", container.trim()]);
    let died = Instant::now();
    loop {
        let sliver = bed.status("demo").remove(0);
        if sliver["operational"] == "geni_failed" {
            assert!(sliver["error"].as_str().unwrap().contains("disk is lost"), "{sliver}");
            break;
        }
        assert!(died.elapsed() < Duration::from_secs(2), "not noticed: {sliver}");
    }
    bed.ok("am perform demo geni_reload --wait");
    assert_eq!(bed.ssh("demo", "one", "hostname").trim(), "one");
}

#[test]
fn e2e_delete_leaves_nothing() {
    let mut bed = Bed::new();
    bed.up("demo", &["one", "two"]);
    bed.ok("am perform demo geni_reload --wait");
    let slivers: Vec<String> =
        bed.status("demo").iter().map(|sliver| sliver["urn"].as_str().unwrap().to_owned()).collect();
    bed.ok("am delete demo");
    bed.wait_until_gone(&slivers);
}
