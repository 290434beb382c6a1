//! The engine's error texts: cleaned, sorted into "again" and "never", each with what to do about it.
//!
//! The engine has no error codes worth the name: "no such device" and "the disk is full" are both 500. So its texts
//! are matched; what no rule knows keeps the meaning of its status.

use testyard_model::image::ImageName;
use testyard_runtime::ImageError;

/// What an error of the engine means for a node.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Trying again gives the same answer.
    Refused(String),
    /// Worth another try.
    Failed(String),
}

struct Rule {
    /// All of these are in the text (lower case).
    needles: &'static [&'static str],
    /// Whether trying again is useless.
    hopeless: bool,
    remedy: &'static str,
}

/// What helps only those who know how an engine works; this is said instead. Nothing of it gets better by itself.
const INSTEAD: &[(&[&str], &str)] = &[
    (&["unable to find user"], ACCOUNTS),
    (&["unable to find groups"], ACCOUNTS),
    (&["evalsymlinksinscope"], ACCOUNTS),
    (
        &["error mounting", "to rootfs at \"/.testyard"],
        "the folder /.testyard, where Testyard's guest goes, is something else in the image: take it out of the image",
    ),
    (
        &["error mounting", "to rootfs at \"/etc/"],
        "/etc/hosts, /etc/hostname and /etc/resolv.conf must be ordinary files in the image, or not be there: mend the \
         image, or, if they were changed inside the node, give it a fresh disk with geni_reload",
    ),
    (
        &["error mounting", "to rootfs at", "not a directory"],
        "the image has something else where a file system of every node goes (/proc, /dev, /sys): mend the image",
    ),
];

const ACCOUNTS: &str = "/etc/passwd and /etc/group must be ordinary files with lines of less than 64 KiB, or not be \
     there: mend the image, or, if they were changed inside the node, give it a fresh disk with geni_reload";

const NODE_RULES: &[Rule] = &[
    Rule {
        needles: &["bind source path does not exist"],
        hopeless: false,
        remedy: "a folder that Testyard mounts into nodes is missing on this host",
    },
    Rule {
        needles: &["testyard-guest", "no such file"],
        hopeless: false,
        remedy: "the guest's program is not in the guest folder: install Testyard again",
    },
    Rule {
        needles: &["exec format error"],
        hopeless: false,
        remedy: "the guest's program is not for this machine: install Testyard again",
    },
    Rule {
        needles: &["no space left on device"],
        hopeless: false,
        remedy: "the host's disk is full: free some space",
    },
    Rule {
        needles: &["no such image"],
        hopeless: false,
        remedy: "the image has been removed from the host in the meantime",
    },
    Rule {
        needles: &["apply caps"],
        hopeless: true,
        remedy: "this host may not give a node one of the capabilities of its sliver type: take it out of the sliver type",
    },
    Rule {
        needles: &["capabilit"],
        hopeless: true,
        remedy: "the sliver type names a capability that the engine does not know",
    },
    Rule {
        needles: &["gathering device information"],
        hopeless: true,
        remedy: "a device of the sliver type is missing on this host",
    },
    Rule { needles: &["memory limit too low"], hopeless: true, remedy: "give the sliver type more memory" },
    Rule { needles: &["minimum memory"], hopeless: true, remedy: "give the sliver type more memory" },
    Rule {
        needles: &["range of cpus"],
        hopeless: true,
        remedy: "give the sliver type fewer cores than the host has",
    },
];

/// What the engine's error means for a node.
pub(crate) fn of_node(status: u16, text: &str) -> Verdict {
    let lower = text.to_lowercase();
    if let Some((_, told)) =
        INSTEAD.iter().find(|(needles, _)| needles.iter().all(|needle| lower.contains(needle)))
    {
        tracing::info!(reason = clean(text), "the engine cannot start a node");
        return Verdict::Refused((*told).to_owned());
    }
    let cleaned = clean(text);
    match NODE_RULES.iter().find(|rule| rule.needles.iter().all(|needle| lower.contains(needle))) {
        Some(rule) if rule.hopeless => Verdict::Refused(format!("{cleaned}; {}", rule.remedy)),
        Some(rule) => Verdict::Failed(format!("{cleaned}; {}", rule.remedy)),
        None if status == 400 => Verdict::Refused(cleaned),
        None => Verdict::Failed(cleaned),
    }
}

const UNREACHABLE_REGISTRY: &str = "its registry does not answer from this host: load the image with `docker load`, or \
     configure a registry that answers";
const DAMAGED: &str = "what its registry sent is not what it announced: push the image again";
const NOT_THERE: &str = "check the name, or load the image onto this host with `docker load`";

/// Parts of texts about pulls (lower case), and what to do.
const PULL_RULES: &[(&str, &str)] = &[
    ("no matching manifest", "its registry has it only for other kinds of machines"),
    ("x509", "its registry's certificate is not trusted by this host's Docker Engine"),
    (
        "server gave http response to https client",
        "its registry speaks plain HTTP: add it to insecure-registries in the engine's daemon.json",
    ),
    ("toomanyrequests", "its registry limits pulls: try later, or log the engine in"),
    ("no space left on device", "the host's disk is full: free some space"),
    ("name unknown", "its registry has no image of this name: check the name"),
    (
        "manifest unknown",
        "its registry has no such image, or not with this tag or digest: check the name and check the tag",
    ),
    ("layer verification failed", DAMAGED),
    ("unexpected eof", DAMAGED),
    ("does not match digest", DAMAGED),
    (
        "no basic auth credentials",
        "its registry asks for a user and a password: the testbed's operators set them in [[registry]]",
    ),
    (
        "access denied",
        "its registry has no such image, or lets only members read it: check the name, or load the image onto this \
         host with `docker load`",
    ),
    (
        "unauthorized",
        "its registry does not let this testbed read it: the testbed's operators set user and password in [[registry]], or \
         load the image with `docker load`",
    ),
    ("no such host", UNREACHABLE_REGISTRY),
    ("server misbehaving", UNREACHABLE_REGISTRY),
    ("connection refused", UNREACHABLE_REGISTRY),
    ("network is unreachable", UNREACHABLE_REGISTRY),
    ("no route to host", UNREACHABLE_REGISTRY),
    ("timeout", UNREACHABLE_REGISTRY),
    ("request canceled", UNREACHABLE_REGISTRY),
    ("not found", NOT_THERE),
    ("no such image", NOT_THERE),
];

/// What the engine's error means for the pull of an image.
pub(crate) fn of_pull(name: &ImageName, text: &str) -> ImageError {
    let lower = text.to_lowercase();
    let detail = match PULL_RULES.iter().find(|(needle, _)| lower.contains(needle)) {
        Some((_, remedy)) => format!("{}; {remedy}", clean(text)),
        None => clean(text),
    };
    ImageError::NotFound { name: name.clone(), detail }
}

/// The text on one line, without control characters and without what says nothing, cut to 400 characters.
pub(crate) fn clean(text: &str) -> String {
    const NOISE: &[&str] = &[
        "Error response from daemon: ",
        "OCI runtime create failed: ",
        "failed to create shim task: ",
        "failed to create task for container: ",
        "runc create failed: ",
        "unable to start container process: ",
        "starting container process caused: ",
        "container_linux.go:380: ",
        ": unknown",
    ];
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for noise in NOISE {
        line = line.replace(noise, "");
    }
    line = without_host_folders(&line);
    line.chars().filter(|c| !c.is_control()).take(400).collect::<String>().trim_end_matches('.').to_owned()
}

/// Paths of a node's root as the node has them: where the engine keeps it is nobody's business.
fn without_host_folders(line: &str) -> String {
    const ROOT: &str = "/merged";
    let mut left = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(end) = rest.find(ROOT) {
        let before = &rest[..end];
        let begin = before.rfind(|c: char| c.is_whitespace() || "\"':(=".contains(c)).map_or(0, |at| at + 1);
        let path = &before[begin..];
        // A folder of the node's own may have the name.
        let of_engine = path.starts_with('/') && path.contains("/overlay2/");
        left.push_str(if of_engine { &before[..begin] } else { &rest[..end + ROOT.len()] });
        rest = &rest[end + ROOT.len()..];
    }
    left + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As an engine has said it of such images.
    #[test]
    fn images_that_cannot_be_started_are_refused_without_jargon() {
        for (text, told) in [
            (
                "unable to find user 0: read /var/lib/docker/overlay2/e259/merged/etc/passwd: is a directory",
                "/etc/passwd and /etc/group must be ordinary files",
            ),
            ("unable to find user 0: bufio.Scanner: token too long", "less than 64 KiB"),
            (
                "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container \
                 process: unable to setup user: unable to find groups for spec : read /etc/group: is a directory: unknown",
                "/etc/group must be ordinary",
            ),
            (
                "evalSymlinksInScope: too many links in /var/lib/docker/overlay2/cac8/merged/etc/passwd",
                "/etc/passwd and",
            ),
            (
                "error during container init: error mounting \"/run/x\" to rootfs at \"/.testyard/run\": open o_path \
                 procfd: open /var/lib/docker/overlay2/40d2/merged/.testyard/run: not a directory: unknown",
                "take it out of the image",
            ),
            (
                "error mounting \"/var/lib/docker/containers/d17b/hosts\" to rootfs at \"/etc/hosts\": mount \
                 /var/lib/docker/containers/d17b/hosts:/etc/hosts (via /proc/self/fd/6), flags: 0x5000: not a directory",
                "/etc/hosts,",
            ),
        ] {
            match of_node(500, text) {
                Verdict::Refused(detail) => {
                    assert!(detail.contains(told), "{detail}");
                    assert!(!detail.contains("/var/lib") && !detail.contains("runc"), "{detail}");
                }
                failed @ Verdict::Failed(_) => panic!("{text}: {failed:?}"),
            }
        }
    }

    #[test]
    fn no_text_names_a_folder_of_the_engine() {
        assert_eq!(clean("open /var/lib/docker/overlay2/ab/merged/x/y: no"), "open /x/y: no");
        assert_eq!(clean("a \"/d/overlay2/ab/merged/x\" and /d/overlay2/cd/merged"), "a \"/x\" and ");
        assert_eq!(clean("open /home/merged/x"), "open /home/merged/x");
    }

    #[test]
    fn what_can_never_work_is_refused_with_a_remedy() {
        for (status, text, remedy) in [
            (
                500,
                "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container \
                 process: unable to apply caps: operation not permitted: unknown",
                "take it out of the sliver type",
            ),
            (
                400,
                "invalid CapAdd: unknown capability: \"CAP_SWIM\"",
                "capability that the engine does not know",
            ),
            (400, "Minimum memory limit allowed is 6MB.", "more memory"),
            (400, "Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available.", "fewer cores"),
            (
                500,
                "error gathering device information while adding custom device \"/dev/x\": no such file or directory",
                "missing on this host",
            ),
        ] {
            match of_node(status, text) {
                Verdict::Refused(detail) => assert!(detail.contains(remedy), "{detail}"),
                failed @ Verdict::Failed(_) => panic!("{text}: {failed:?}"),
            }
        }
        assert_eq!(of_node(400, "something else"), Verdict::Refused("something else".to_owned()));
    }

    #[test]
    fn what_may_pass_is_not_refused() {
        for (status, text) in [
            (500, "write /var/lib/docker/x: no space left on device"),
            (400, "invalid mount config for type \"bind\": bind source path does not exist: /run/x"),
            (404, "No such image: sha256:00"),
            (400, "exec: \"/.testyard/bin/testyard-guest\": stat …: no such file or directory: unknown"),
            (500, "something else"),
        ] {
            assert!(matches!(of_node(status, text), Verdict::Failed(_)), "{text}");
        }
    }

    #[test]
    fn pulls() {
        let name: ImageName = "debian:12".parse().unwrap();
        let detail = |text: &str| of_pull(&name, text).to_string();
        let no_host =
            detail("Get \"https://registry.example/v2/\": dial tcp: lookup registry.example: no such host");
        assert!(no_host.contains("does not answer") && no_host.contains("docker load"), "{no_host}");
        assert!(
            detail("manifest for debian:x not found: manifest unknown: manifest unknown")
                .contains("check the tag")
        );
        assert!(detail("pull access denied for x, repository does not exist").contains("members"));
        assert!(detail("no matching manifest for linux/amd64").contains("other kinds"));
    }

    #[test]
    fn texts_are_cleaned() {
        assert_eq!(clean("Error response from daemon:  a\n\tb\u{1b}[0m."), "a b[0m");
        assert_eq!(clean(&"x".repeat(9000)).len(), 400);
    }
}
