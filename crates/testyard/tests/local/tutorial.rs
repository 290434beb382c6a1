//! The tutorial does what it says: each of its files and commands, with pretended nodes.

use std::fs;

use super::bed::{Bed, text};

const TUTORIAL: &str = include_str!("../../../../docs/tutorial.md");

/// Code of a kind, a block each.
fn blocks(kind: &str) -> Vec<&'static str> {
    let open = format!("```{kind}\n");
    TUTORIAL.split(open.as_str()).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// What is typed, without remarks and what is piped elsewhere.
fn commands() -> Vec<&'static str> {
    let typed = blocks("console").into_iter().flat_map(str::lines);
    let typed = typed.filter_map(|line| line.strip_prefix("# ").or_else(|| line.strip_prefix("$ ")));
    let typed = typed.map(|line| line.split(" #").next().unwrap().split(" | ").next().unwrap().trim());
    typed
        .map(|line| line.strip_prefix("testyard ").unwrap_or_else(|| panic!("{line} is no command")))
        .collect()
}

#[test]
fn every_command_of_the_tutorial_works() {
    let bed = Bed::new();
    bed.program("ssh", "#!/bin/sh\nexit 0\n");
    let [lab, schedule] = blocks("yaml").try_into().unwrap();
    bed.file("lab.yaml", lab);
    let commands = commands();
    assert!(commands.len() >= 18, "{commands:#?}");
    for line in commands {
        match line {
            // In between the text asks for another node, and later for the schedule.
            "up lab.yaml --dry-run" => {
                let more = lab
                    .replace("  bob:\n", "  bob:\n  carol:\n")
                    .replace("bob, router", "bob, router, carol");
                bed.file("lab.yaml", &more);
                let told = bed.ok(line);
                assert!(told.contains("+ node carol") && told.contains("~ link office"), "{told}");
            }
            // Pretended links do nothing to frames; the end-to-end suite measures.
            "verify" => {}
            "status lab --watch" | "events" => bed.watch(line).kill(),
            "down lab" => {
                let now = fs::read_to_string(bed.path("lab.yaml")).unwrap();
                bed.file("lab.yaml", &(now + schedule));
                bed.ok("up lab.yaml");
                bed.ok("replay lab");
                bed.ok(line);
            }
            _ => {
                let output = bed.run(&line.replace("--for 10s", "--for 1s"));
                assert!(output.status.success(), "{line}: {}", text(&output.stderr));
            }
        }
    }
    assert!(fs::metadata(bed.path("uplink.pcapng")).unwrap().len() > 0);
    assert!(bed.ok("ls").contains("no slices"));
}

/// What the nodes run is in the image that they boot by default.
#[test]
fn what_the_nodes_run_is_there() {
    let image = include_str!("../../../../scripts/default-image-rootfs");
    let packages = image.lines().find_map(|line| line.strip_prefix("packages=")).unwrap();
    let has = |package: &str| packages.split(',').any(|other| other == package);
    let [lab, _] = blocks("yaml").try_into().unwrap();
    let run = lab.split_once("run: |\n").unwrap().1;
    // debootstrap's minbase has perl-base, as every Debian.
    assert!(run.trim_start().starts_with("perl "), "{run}");
    for (command, package) in [("curl ", "curl"), ("ping ", "iputils-ping")] {
        assert!(commands().iter().any(|line| line.contains(&format!("-- {command}"))), "{command}");
        assert!(has(package), "{package}: {packages}");
    }
}
