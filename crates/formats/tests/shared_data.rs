//! The request files that the projects share get the answers they are here for, and manifests validate.
#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod common;

use common::{all_ready, allocated, context, info, not_run, shared, validate};
use testyard_formats::rspec::{Context, RequestError, manifest, parse_request};

const RICH: &str = include_str!("data/rich.rspec");

fn answer(text: &str, context: &Context) -> String {
    match parse_request(text, context) {
        Ok(request) => {
            let links = request.topology.links.len();
            format!(
                "{} nodes, {links} links, {} remarks",
                request.topology.nodes.len(),
                request.diagnostics.len()
            )
        }
        Err(RequestError::NothingForUs(_)) => "nothing for us".to_owned(),
        Err(RequestError::WrongType { found }) => format!("is a {found}"),
        Err(RequestError::Invalid(diagnostics)) => format!("{} errors", diagnostics.len()),
        Err(error) => error.to_string(),
    }
}

/// As the testbed that the files were written for (they name images that no registry has), and as another.
#[test]
fn each_file() {
    let Some(folder) = shared("testdata/rspec") else { return not_run("shared RSpec files") };
    let pgeni = Context::new("urn:publicid:IDN+pgeni.gpolab.bbn.com+authority+am".parse().unwrap());
    let utah = Context::new("urn:publicid:IDN+utahddc.geniracks.net+authority+am".parse().unwrap());
    let table = [
        ("01-gt-two-nodes-iperf.rspec", &pgeni, "nothing for us", "2 errors"),
        ("02-gt-three-nodes-lan.rspec", &pgeni, "nothing for us", "3 errors"),
        ("04-gt-four-nodes.rspec", &pgeni, "nothing for us", "4 errors"),
        ("06-gt-accept-request.xml", &utah, "nothing for us", "1 errors"),
        ("07-gt-accept-bad-manifest-as-request.xml", &utah, "is a manifest", "is a manifest"),
        (
            "27-portal-two-nodes-one-link.xml",
            &pgeni,
            "2 nodes, 1 links, 0 remarks",
            "2 nodes, 1 links, 0 remarks",
        ),
    ];
    for (name, theirs, as_us, as_them) in table {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        assert_eq!(answer(&text, &context()), as_us, "{name}");
        assert_eq!(answer(&text, theirs), as_them, "{name}");
    }
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|f| f.unwrap().file_name()).collect();
    files.retain(|name| table.iter().all(|(known, ..)| name != known));
    assert!(files.is_empty(), "files without an answer: {files:?}");
}

/// The shared files with an image that exists are requests to be taken whole; their manifests validate.
#[test]
fn manifests_validate() {
    let (Some(schemas), Some(folder)) = (shared("schemas/rspec-3"), shared("testdata/rspec")) else {
        return not_run("manifest schema");
    };
    let mut documents = Vec::new();
    let mut add = |name: &str, text: &str, context: &Context| {
        let request = parse_request(text, context).unwrap_or_else(|error| panic!("{name}: {error}"));
        let ready = all_ready(0, &request);
        let (first, info) = (&ready[..1], info(context));
        let early: Vec<_> = ready.iter().map(|node| allocated(0, node.client_id.as_str(), 9)).collect();
        let twice: Vec<_> = ready
            .iter()
            .cloned()
            .chain(ready.iter().map(|n| testyard_formats::rspec::ManifestNode { document: 1, ..n.clone() }))
            .collect();
        let requests = [request.document.clone(), request.document];
        for (what, nodes) in
            [("ready", &ready[..]), ("first", first), ("allocated", &early), ("twice", &twice), ("none", &[])]
        {
            documents.push((format!("{name} {what}"), manifest(&requests, nodes, &info)));
        }
    };
    let pgeni = Context::new("urn:publicid:IDN+pgeni.gpolab.bbn.com+authority+am".parse().unwrap());
    let utah = Context::new("urn:publicid:IDN+utahddc.geniracks.net+authority+am".parse().unwrap());
    for (name, context) in [
        ("01-gt-two-nodes-iperf.rspec", &pgeni),
        ("02-gt-three-nodes-lan.rspec", &pgeni),
        ("04-gt-four-nodes.rspec", &pgeni),
        ("06-gt-accept-request.xml", &utah),
        ("27-portal-two-nodes-one-link.xml", &pgeni),
    ] {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        let text = text.split("urn:publicid:IDN+").fold(String::new(), |mut out, part| {
            match part.split_once('"').filter(|(urn, _)| urn.contains("+image+")) {
                Some((_, rest)) => out.push_str(&format!("debian:12\"{rest}")),
                None if out.is_empty() => out.push_str(part),
                None => out.push_str(&format!("urn:publicid:IDN+{part}")),
            }
            out
        });
        add(name, &text, context);
    }
    add("rich", &RICH.replace("encoding=\"ISO-8859-1\"", ""), &context());
    validate(&schemas, "manifest.xsd", &documents);
}
