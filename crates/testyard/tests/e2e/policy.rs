//! What is refused, and how it is said.

use crate::support::{Bed, request, request_with};

#[test]
fn e2e_bad_requests_change_nothing_and_say_why() {
    let mut bed = Bed::new();
    for (name, text, expected) in [
        ("empty", String::new(), "empty"),
        ("broken", request(&["a"]).replace("</rspec>", "<rspec>"), "XML"),
        ("twice", request(&["a", "a"]), "a"),
        ("type", request(&["a"]).replace("docker-container", "docker_container"), "did you mean"),
        (
            "foreign",
            request(&["a"])
                .replace("<node ", "<node component_manager_id=\"urn:publicid:IDN+localhost+authority+an\" "),
            "did you mean",
        ),
        ("entities", format!("<!DOCTYPE r [<!ENTITY a 'b'>]>{}", request(&["a"])), "DOCTYPE"),
        ("exclusive", request(&["a"]).replace("\"false\"", "\"true\""), "exclusive"),
        (
            "image",
            request_with(&[("a", "")])
                .replace("/></node>", "><disk_image name=\"$(touch /tmp/pwned)\"/></sliver_type></node>"),
            "image",
        ),
    ] {
        let file = bed.file(&format!("{name}.rspec"), &text);
        let (code, error) = bed.fails(&format!("am allocate demo {file}"));
        assert_eq!(code, 1, "{name}: {error}");
        assert!(error.to_lowercase().contains(&expected.to_lowercase()), "{name}: {error}");
    }
    assert!(bed.fails("am status demo").1.contains("12"));
}

#[test]
fn e2e_full_hosts_say_what_is_free() {
    let mut bed = Bed::with(|config| config.replace("#capacity = 100", "capacity = 2"));
    let file = bed.file("three.rspec", &request(&["a", "b", "c"]));
    let (code, error) = bed.fails(&format!("am allocate demo {file}"));
    assert!(code == 1 && error.contains('3') && error.contains('2'), "{error}");
    let file = bed.file("two.rspec", &request(&["a", "b"]));
    bed.ok(&format!("am allocate demo {file}"));
    assert!(bed.ok("am list-resources --rspec").contains("now=\"false\""), "a full host is not available");
}

#[test]
fn e2e_a_caller_without_certificate_or_credential_gets_nowhere() {
    let mut bed = Bed::new();
    bed.ok("credential issue user mallory");
    bed.up("demo", &["one"]);
    let (code, error) = bed.fails("am status urn:publicid:IDN+localhost+slice+demo --as nobody-here");
    assert!(code == 2 || code == 1, "{code} {error}");
    let slice = bed.testbed().dir().join("mallory-demo.xml");
    let mallory = format!("credential issue slice other --user mallory --output {}", slice.display());
    bed.ok(&mallory);
    let (code, error) = bed.fails(&format!("am delete demo --as mallory --credential {}", slice.display()));
    assert!(code == 1 && error.contains('3'), "{code} {error}");
    assert_eq!(bed.status("demo").len(), 1);
}

#[test]
fn e2e_a_new_configuration_is_read_on_sighup_and_keeps_state() {
    let mut bed = Bed::with(|config| config.replace("#capacity = 100", "capacity = 1"));
    bed.up("demo", &["one"]);
    let config = bed.testbed().config();
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("capacity = 1", "capacity = 5")).unwrap();
    let pid = bed.testbed().pid().to_string();
    crate::support::run("kill", &["-HUP", &pid]);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !bed.ok("am list-resources --rspec").contains("now=\"true\"") {
        assert!(
            std::time::Instant::now() < deadline,
            "the new capacity is not taken over\n{}",
            bed.testbed().log()
        );
    }
    assert_eq!(bed.ssh("demo", "one", "hostname").trim(), "one");
    std::fs::write(&config, text.replace("capacity = 1", "capacity = \"many\"")).unwrap();
    crate::support::run("kill", &["-HUP", &pid]);
    while !bed.testbed().log().contains("capacity") {
        assert!(std::time::Instant::now() < deadline, "the mistake is not said\n{}", bed.testbed().log());
    }
    std::fs::write(&config, text).unwrap();
    assert_eq!(bed.status("demo").len(), 1, "a bad configuration changes nothing");
}
