//! The testbed as configured: its name, address, certificate and roots.

use std::net::{TcpListener, ToSocketAddrs as _};
use std::path::Path;

use openssl::asn1::Asn1Time;
use openssl::x509::X509;

use super::Finding;
use crate::config::Settings;

pub(super) fn examine(settings: &Settings) -> Vec<Finding> {
    let mut findings = vec![
        public_name(&settings.testbed.name),
        listening(settings),
        certificate(settings),
        roots(&settings.paths.trusted),
    ];
    findings.extend(sudo(settings));
    findings
}

/// Nodes see Testyard's sudo through a mount of the state folder, which keeps the folder's own `nosuid`.
fn sudo(settings: &Settings) -> Option<Finding> {
    let folder = settings.paths.state.ancestors().find(|folder| folder.is_dir())?;
    let flags = nix::sys::statvfs::statvfs(folder).ok()?.flags();
    let wanted = settings.sliver_types.iter().any(|kind| kind.sudo);
    (wanted && flags.contains(nix::sys::statvfs::FsFlags::ST_NOSUID)).then(|| {
        let found =
            format!("{} is mounted with nosuid: Testyard's sudo does not work in nodes", folder.display());
        let remedy =
            "set paths.state to a folder of a file system without nosuid, or mount this one with suid";
        Finding::limited("sudo", found, remedy)
    })
}

fn public_name(name: &str) -> Finding {
    const SUBJECT: &str = "public name";
    match (name, 0).to_socket_addrs() {
        Ok(addresses) => {
            let mut addresses: Vec<_> = addresses.map(|address| address.ip()).collect();
            addresses.dedup();
            let shown = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            if addresses.iter().all(std::net::IpAddr::is_loopback) {
                let remedy =
                    "fine for trying it out; for others, give this machine a DNS name and set testbed.name";
                Finding::limited(SUBJECT, format!("{name} is {shown}: only this machine can use it"), remedy)
            } else if name.parse::<std::net::IpAddr>().is_ok() {
                Finding::limited(SUBJECT, format!("{name} is an address"), "jFed needs a DNS name")
            } else {
                Finding::good(SUBJECT, format!("{name} is {shown}"))
            }
        }
        Err(error) => {
            Finding::limited(SUBJECT, format!("{name}: {error}"), "give this machine the name in DNS")
        }
    }
}

fn listening(settings: &Settings) -> Finding {
    const SUBJECT: &str = "port";
    let taken: Vec<String> = settings
        .testbed
        .bind
        .iter()
        .filter_map(|at| TcpListener::bind(at).err().map(|error| format!("{at}: {error}")))
        .collect();
    if taken.is_empty() {
        let all = settings.testbed.bind.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        Finding::good(SUBJECT, format!("{all} is free"))
    } else if crate::serve::is_running(&settings.paths.run) {
        Finding::good(SUBJECT, "testyard serve is running")
    } else {
        Finding::lacking(
            SUBJECT,
            taken.join("; "),
            "end what uses it (ss -ltnp shows it), or set testbed.bind",
        )
    }
}

fn certificate(settings: &Settings) -> Finding {
    const SUBJECT: &str = "server certificate";
    let path = &settings.tls.certificate;
    let read = std::fs::read(path).map_err(|error| error.to_string());
    let parsed = read.and_then(|text| X509::from_pem(&text).map_err(|_| "is no PEM certificate".to_owned()));
    let certificate = match parsed {
        Ok(certificate) => certificate,
        Err(error) => {
            let found = format!("{}: {error}", path.display());
            return Finding::lacking(
                SUBJECT,
                found,
                "testyard init makes one; or set tls.certificate and tls.key",
            );
        }
    };
    let names: Vec<String> = certificate
        .subject_alt_names()
        .into_iter()
        .flatten()
        .filter_map(|name| name.dnsname().map(str::to_lowercase))
        .collect();
    let name = settings.testbed.name.to_lowercase();
    let covered = names.iter().any(|dns| {
        *dns == name
            || dns
                .strip_prefix("*.")
                .is_some_and(|rest| name.split_once('.').is_some_and(|(_, tail)| tail == rest))
    });
    let days = Asn1Time::days_from_now(0)
        .ok()
        .and_then(|now| now.diff(certificate.not_after()).ok())
        .map_or(0, |d| d.days);
    if days < 0 {
        Finding::lacking(
            SUBJECT,
            format!("{} has expired", path.display()),
            "renew it; serve reads it when it changes",
        )
    } else if !covered && name.parse::<std::net::IpAddr>().is_err() {
        let found = format!("{} is for {}, not for {name}", path.display(), names.join(", "));
        Finding::limited(SUBJECT, found, "clients that check names refuse it: get one for testbed.name")
    } else if days < 21 {
        Finding::limited(SUBJECT, format!("{} ends in {days} days", path.display()), "renew it")
    } else {
        Finding::good(SUBJECT, format!("good for {days} days"))
    }
}

fn roots(folder: &Path) -> Finding {
    const SUBJECT: &str = "trusted roots";
    let certificates: usize = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| X509::stack_from_pem(&std::fs::read(entry.ok()?.path()).ok()?).ok())
        .map(|all| all.len())
        .sum();
    if certificates == 0 {
        let remedy = "testyard init makes one; a federation's root is dropped into the folder as a PEM file";
        Finding::lacking(
            SUBJECT,
            format!("{} holds none: nobody can use this testbed", folder.display()),
            remedy,
        )
    } else {
        Finding::good(SUBJECT, format!("{certificates} in {}", folder.display()))
    }
}
