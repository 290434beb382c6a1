use proptest::prelude::*;

use super::*;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

fn entry(line: &str) -> Entry {
    match parse_line(line.as_bytes()) {
        Line::Key(entry) => *entry,
        other => panic!("{line}: {other:?}"),
    }
}

fn refusal(line: &str) -> Refusal {
    match parse_line(line.as_bytes()) {
        Line::Refused(refusal) => refusal,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn a_plain_key_may_do_everything() {
    assert_eq!(entry(&format!("{KEY} ann@home with blanks")).options, Options::default());
    assert_eq!(entry(&format!("  {KEY}\r")).key, entry(KEY).key);
    assert_eq!(parse_line(b"  # comment"), Line::Nothing);
    assert_eq!(parse_line(b""), Line::Nothing);
}

#[test]
fn options_are_kept() {
    let options =
        entry(&format!(r#"command="echo \"a, b\"",no-pty,from="10.0.0.0/8,!10.0.0.1" {KEY} c"#)).options;
    assert_eq!(options.command.as_deref(), Some("echo \"a, b\""));
    assert!(!options.terminal && options.forwarding);
    let from = options.from.unwrap();
    assert!(from.match_peer("10.2.3.4".parse().unwrap()) && !from.match_peer("10.0.0.1".parse().unwrap()));

    let options = entry(&format!("restrict,pty {KEY}")).options;
    assert!(options.terminal && !options.forwarding && !options.agent);

    let options =
        entry(&format!(r#"environment="A=b c",permitopen="h:80",No-Agent-Forwarding {KEY}"#)).options;
    assert_eq!(options.environment, [("A".to_owned(), "b c".to_owned())]);
    assert!(options.open[0].is("h", 80) && !options.agent);
}

#[test]
fn a_key_with_an_option_that_is_not_kept_does_not_count() {
    for name in [
        "cert-authority",
        "verify-required",
        "tunnel=\"1\"",
        "principals=\"a\"",
        "expiry-time=\"20300101\"",
        "new-thing",
    ] {
        let plain = name.split('=').next().unwrap().to_owned();
        assert_eq!(refusal(&format!("{name} {KEY}")), Refusal::Unknown(plain), "{name}");
    }
    for text in [
        "from=\"10.0.0.0/99\"",
        "environment=\"=x\"",
        "environment=\"A\"",
        "permitopen=\"x\"",
        "command=ls",
        "command=\"ls",
    ] {
        assert_eq!(
            refusal(&format!("{text} {KEY}")),
            Refusal::Malformed(text.split('=').next().unwrap().to_owned()),
            "{text}"
        );
    }
}

#[test]
fn what_is_no_key_is_refused() {
    for line in ["ssh-ed25519", "ssh-ed25519 AAAA", "no-pty", "no-pty,", ",", "\u{e9}t\u{e9}"] {
        assert_eq!(refusal(line), Refusal::NoKey, "{line}");
    }
    assert_eq!(refusal(&KEY.replacen("ssh-ed25519", "ssh-rsa", 1)), Refusal::NoKey);
    assert_eq!(parse_line(&[0xff; 9]), Line::Refused(Refusal::NoKey));
    assert_eq!(parse_line(&vec![b'a'; LINE + 1]), Line::Refused(Refusal::TooLong));
}

#[test]
fn a_key_that_stands_twice_is_good_for_what_one_of_them_allows() {
    let entries =
        [entry(&format!("from=\"10.0.0.1\",no-pty {KEY}")), entry(&format!("from=\"10.0.0.2\" {KEY}"))];
    let key = &entries[0].key;
    assert!(!find(&entries, key, "10.0.0.1".parse().unwrap()).unwrap().terminal);
    assert!(find(&entries, key, "10.0.0.2".parse().unwrap()).unwrap().terminal);
    assert_eq!(find(&entries, key, "10.0.0.3".parse().unwrap()), None);
}

proptest! {
    #[test]
    fn any_line_is_judged(line: Vec<u8>) {
        let _ = parse_line(&line);
    }

    #[test]
    fn any_text_before_a_key_is_judged(text in "[a-z\"=,\\\\! -]{0,40}") {
        let _ = parse_line(format!("{text} {KEY}").as_bytes());
    }
}
