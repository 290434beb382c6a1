//! `testyard inventory`: the nodes of a slice for Ansible, as YAML that is JSON.

use clap::Args;
use serde_json::{Map, Value, json};

use super::exec::quoted;
use super::session::{Connection, Session};
use crate::exit::Outcome;
use crate::print;

/// `inventory`
#[derive(Debug, Args)]
#[command(after_help = "Example: testyard inventory lab > lab.yml; ansible -i lab.yml all -m ping")]
pub struct Arguments {
    /// The slice [default: the only one]
    slice: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: &Arguments) -> Outcome {
    let session = Session::open(&arguments.connection);
    let slice = session.slice(arguments.slice.as_deref()).await?;
    let ways = session.ways(&slice, None).await?;
    let (identity, known_hosts) = ways.files();
    let options = [
        format!("UserKnownHostsFile={}", known_hosts.display()),
        "GlobalKnownHostsFile=/dev/null".to_owned(),
        "StrictHostKeyChecking=yes".to_owned(),
        "IdentitiesOnly=yes".to_owned(),
    ];
    let options: Vec<String> = options.iter().map(|option| format!("-o {}", quoted(option))).collect();
    let hosts = ways.logins.iter().map(|login| {
        let mut host = json!({
            "ansible_host": login.hostname,
            "ansible_port": login.port,
            "ansible_user": login.username,
            "ansible_ssh_common_args": options.join(" "),
        });
        if let (Some(identity), Value::Object(host)) = (identity, &mut host) {
            host.insert("ansible_ssh_private_key_file".to_owned(), json!(identity));
        }
        (login.node.clone(), host)
    });
    let hosts: Map<String, Value> = hosts.collect();
    print::json(&json!({ "all": { "hosts": hosts } }))
}
