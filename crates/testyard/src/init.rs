//! `testyard init`: a commented configuration, the built-in authority, the server's certificate, and a first user.

use std::io;
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};

use anyhow::Context as _;
use clap::Args;
use jiff::Timestamp;
use testyard_model::id::Instance;
use testyard_model::name::Login;
use testyard_model::urn::Authority;
use testyard_trust::NewKey;
use testyard_trust::issuer::{self, Identity, ServerName, Validity};

use crate::cli::FolderArgument;
use crate::config::template;
use crate::credential::{issue, ssh_key};
use crate::exit::{Failure, Outcome};
use crate::folder::{self, Folder, Readers};
use crate::staging::Staging;

/// `testyard init`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    testyard init --name am.example.net --user ann\n  \
    testyard init --local --dir ~/lab --state ~/lab/state --run ~/lab/run")]
pub struct Arguments {
    #[command(flatten)]
    folder: FolderArgument,
    /// The public DNS name of this machine [default: its full name, else a global address]
    #[arg(long)]
    name: Option<String>,
    /// The authority part of URNs [default: the name]
    #[arg(long)]
    authority: Option<Authority>,
    /// For this machine only: localhost is a good name then
    #[arg(long)]
    local: bool,
    /// The first user [default: who runs this]
    #[arg(long)]
    user: Option<Login>,
    /// The first user's public SSH key [default: a new pair is made]
    #[arg(long, value_name = "FILE")]
    ssh_key: Option<PathBuf>,
    /// Where the database goes
    #[arg(long, value_name = "DIR", default_value = "/var/lib/testyard")]
    state: PathBuf,
    /// Where sockets go
    #[arg(long, value_name = "DIR", default_value = "/run/testyard")]
    run: PathBuf,
    /// The mark on everything that this testbed makes on this machine
    #[arg(long, default_value = "main")]
    instance: Instance,
    /// The port that it listens on
    #[arg(long, default_value_t = 8001)]
    port: u16,
}

/// How long certificates last, in days.
const ROOT_DAYS: u32 = 3650;
const SERVER_DAYS: u32 = 730;

/// Writes everything; refuses to overwrite anything.
///
/// # Errors
/// If there is a testbed already, the name cannot be public, or a file cannot be written.
pub fn run(arguments: &Arguments) -> Outcome {
    let folder = arguments.folder.folder();
    if folder.configuration().exists() {
        let there = folder.configuration();
        return Err(Failure::usage(format!("{} is there already; nothing was changed", there.display())));
    }
    let name = match &arguments.name {
        Some(name) => PublicName { name: name.clone(), warning: None },
        None => default_name(arguments.local)?,
    };
    check_name(&name.name, arguments.local)?;
    if let Some(warning) = &name.warning {
        remark!("testyard: warning: {warning}");
    }
    let authority: Authority = match &arguments.authority {
        Some(authority) => authority.clone(),
        None => name.name.parse().map_err(|error| Failure::usage(format!("{error}; give --authority")))?,
    };
    let user = match &arguments.user {
        Some(user) => user.clone(),
        None => who_runs_this(),
    };
    let ssh_key = arguments.ssh_key.as_deref().map(ssh_key::read).transpose()?;
    let absolute = |path: &Path| std::path::absolute(path).context("no current folder");
    let (state, run) = (absolute(&arguments.state)?, absolute(&arguments.run)?);

    // A folder that is not there yet appears at once, complete: an init that was killed can be run again.
    let staging = if folder.path().exists() { None } else { Some(Staging::begin(folder.path())?) };
    let target = staging.as_ref().map_or_else(|| folder.clone(), |staging| Folder::new(staging.path()));
    write_authority(&target, &authority, &name.name)?;
    let issuer = issue::Issuer::open(&target)?;
    issue::user(&issuer, &target, &user, &issue::UserOptions::default())?;
    ssh_key::install(&target, &user, ssh_key.as_ref())?;
    write(&target.default_user_file(), format!("{user}\n").as_bytes(), Readers::All)?;
    let bind = format!("{}:{}", if has_ipv6() { "[::]" } else { "0.0.0.0" }, arguments.port);
    let answers = template::Answers {
        name: &name.name,
        authority: authority.as_str(),
        instance: arguments.instance.as_str(),
        bind: &bind,
        state: &state,
        run: &run,
    };
    // In a folder that was there, the configuration comes last: it tells a finished one from one that was interrupted.
    write(&target.configuration(), template::render(&answers).as_bytes(), Readers::All)?;
    if let Some(staging) = staging {
        staging.finish(folder.path())?;
    }
    report(&folder, &name.name, &user);
    Ok(())
}

fn report(folder: &Folder, name: &str, user: &Login) {
    let option = if folder.path() == Path::new(folder::DEFAULT) {
        String::new()
    } else {
        format!(" --dir {}", folder.path().display())
    };
    say!("testbed {name}");
    say!("  configuration  {}", folder.configuration().display());
    say!("  trusted roots  {}", folder.trusted().display());
    say!("  first user     {user}: {}", folder.user(user.as_str()).path().display());
    say!("next:");
    say!("  testyard doctor{option}    what this host lacks");
    say!("  testyard serve{option}     run the testbed");
}

struct PublicName {
    name: String,
    warning: Option<String>,
}

/// The machine's full name, else a global address, which jFed cannot use.
fn default_name(local: bool) -> Result<PublicName, Failure> {
    if local {
        return Ok(PublicName { name: "localhost".to_owned(), warning: None });
    }
    if let Some(name) = full_name() {
        return Ok(PublicName { name, warning: None });
    }
    if let Some(address) = global_address() {
        let warning = format!(
            "this machine has no full name, so {address} stands for it; jFed needs a DNS name: set one up and give --name"
        );
        return Ok(PublicName { name: address.to_string(), warning: Some(warning) });
    }
    Err(Failure::usage(
        "this machine has neither a full name nor a global address: give --name, or --local to try it out",
    ))
}

/// The name of this machine with its domain, from `hostname --fqdn`, which asks the resolver.
fn full_name() -> Option<String> {
    let output =
        Process::new("hostname").arg("--fqdn").stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let name = String::from_utf8(output.stdout).ok()?.trim().trim_end_matches('.').to_lowercase();
    let public = name.contains('.') && name.parse::<IpAddr>().is_err() && !is_local(&name);
    public.then_some(name)
}

/// The address that this machine would use towards the internet, if others can reach it. Nothing is sent.
fn global_address() -> Option<IpAddr> {
    let routed = [("0.0.0.0:0", "203.0.113.1:9"), ("[::]:0", "[2001:db8::1]:9")];
    routed.into_iter().find_map(|(from, to)| {
        let socket = UdpSocket::bind(from).ok()?;
        socket.connect(to).ok()?;
        let address = socket.local_addr().ok()?.ip();
        is_global(address).then_some(address)
    })
}

fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            let shared = a == 100 && (64..128).contains(&b);
            let local = v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_unspecified();
            !(local || shared || v4.is_documentation())
        }
        IpAddr::V6(v6) => v6.segments()[0] & 0xe000 == 0x2000 && v6.segments()[..2] != [0x2001, 0xdb8],
    }
}

fn is_local(name: &str) -> bool {
    match name.parse::<IpAddr>() {
        Ok(address) => address.is_loopback() || address.is_unspecified(),
        Err(_) => {
            let name = name.to_lowercase();
            name == "localhost" || name.ends_with(".localhost") || name.starts_with("localhost.")
        }
    }
}

fn check_name(name: &str, local: bool) -> Outcome {
    name.parse::<ServerName>().map_err(Failure::usage)?;
    let unspecified = name.parse::<IpAddr>().is_ok_and(|address| address.is_unspecified());
    if unspecified || (is_local(name) && !local) {
        let hint = if unspecified { "" } else { "; --local allows it, to try things out" };
        return Err(Failure::usage(format!(
            "{name} cannot be a public name: no other machine can reach it{hint}"
        )));
    }
    Ok(())
}

/// The user behind this command, if that is a name for an account.
fn who_runs_this() -> Login {
    ["SUDO_USER", "USER", "LOGNAME"]
        .iter()
        .filter_map(|variable| std::env::var(variable).ok())
        .filter(|name| name != "root")
        .find_map(|name| name.parse().ok())
        .unwrap_or_else(|| "experimenter".parse().expect("a login name"))
}

fn has_ipv6() -> bool {
    TcpListener::bind("[::]:0").is_ok()
}

fn write_authority(folder: &Folder, authority: &Authority, name: &str) -> Outcome {
    let now = Timestamp::now();
    let root = Identity::root(authority, NewKey::Rsa(3072), Validity::days(now, ROOT_DAYS))
        .context("root certificate")?;
    let sa = root
        .issue_authority(authority, "sa", NewKey::Rsa(2048), Validity::days(now, ROOT_DAYS))
        .context("authority certificate")?;
    let names = server_names(name)?;
    let server =
        issuer::server_certificate(&names, NewKey::Rsa(2048), Validity::days(now, SERVER_DAYS), Some(&root))
            .context("server certificate")?;
    let root_pem = root.chain_pem();
    for (identity, pem, key) in [
        (&root, folder.authority("root.pem"), folder.authority("root.key")),
        (&sa, folder.authority("authority.pem"), folder.authority("authority.key")),
        (&server, folder.server("certificate.pem"), folder.server("key.pem")),
    ] {
        write(&pem, identity.chain_pem().as_bytes(), Readers::All)?;
        write(&key, &identity.key().to_pem().context("private key")?, Readers::Owner)?;
    }
    write(
        &folder.trusted().join(format!("{}.pem", authority.as_str().replace(':', "."))),
        root_pem.as_bytes(),
        Readers::All,
    )
}

/// What clients may call the server: its name, and what this machine calls itself when it is only for itself.
fn server_names(name: &str) -> Result<Vec<ServerName>, Failure> {
    let mut names = vec![name.parse::<ServerName>().map_err(Failure::usage)?];
    for local in ["localhost", "127.0.0.1", "::1"] {
        let local = local.parse().map_err(Failure::failed)?;
        if is_local(name) && !names.contains(&local) {
            names.push(local);
        }
    }
    Ok(names)
}

fn write(path: &Path, content: &[u8], readers: Readers) -> Outcome {
    folder::write_new(path, content, readers).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::usage(format!(
            "{} is there already; an interrupted init left it, or it belongs to something else: move it away",
            path.display()
        )),
        _ => Failure::failed(format!("{}: {error}", path.display())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_nobody_can_reach() {
        for name in ["localhost", "127.0.0.1", "::1", "LOCALHOST", "localhost.localdomain", "127.1.2.3"] {
            assert!(check_name(name, false).is_err(), "{name}");
            assert!(check_name(name, true).is_ok(), "{name}");
        }
        for name in ["0.0.0.0", "::", "a b", "", "x/y"] {
            assert!(check_name(name, true).is_err(), "{name}");
        }
        for name in ["am.example.net", "192.0.2.7", "2001:db8::7"] {
            assert!(check_name(name, false).is_ok(), "{name}");
        }
    }

    #[test]
    fn global_addresses() {
        for address in [
            "10.0.0.1",
            "192.168.1.1",
            "127.0.0.1",
            "169.254.1.1",
            "100.64.0.1",
            "192.0.2.7",
            "fe80::1",
            "fd00::1",
            "2001:db8::7",
        ] {
            assert!(!is_global(address.parse().unwrap()), "{address}");
        }
        for address in ["9.9.9.9", "2620:fe::fe"] {
            assert!(is_global(address.parse().unwrap()), "{address}");
        }
    }
}
