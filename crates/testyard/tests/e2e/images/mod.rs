//! Any image becomes a node: a matrix of image × feature, each cell tried on a real node.
//!
//! The page `docs/reference/images.md` is what this test has seen. It fails if it sees something else;
//! `TESTYARD_BLESS=1` writes the page anew.

mod check;
mod page;
mod way;

use std::collections::BTreeMap;
use std::path::Path;

use testyard_testkit::images::{Image, Images};

use crate::support::{Bed, IMAGE, request, request_with, run};
use check::Subject;
use page::{Cell, Row};
use way::Way;

/// The columns, and what is tried for each.
pub(crate) const FEATURES: [(&str, &str); 15] = [
    ("ready", "Status says `geni_ready`"),
    ("shell", "`ssh node`: a shell that reads commands and whose exit status comes back"),
    ("exec", "`ssh node COMMAND`: output, standard error apart from it, exit status"),
    ("pty", "`ssh -tt node COMMAND`: a terminal"),
    ("sftp", "a file of 1 MiB there and back"),
    ("scp", "the same with `scp`, and with the old protocol, `scp -O`"),
    ("sudo", "`sudo -n COMMAND` is root's"),
    ("accounts", "a second user logs in with the own key, and with no other"),
    ("install", "an archive fetched over HTTP and unpacked before the first execute"),
    ("execute", "a command of the request has run as root, its output and status are kept"),
    ("names", "its name in `/etc/hostname` and `/etc/hosts`, a name server in `/etc/resolv.conf`"),
    ("facts", "`geni-get client_id` as a user"),
    ("program", "the image's own program runs, as the image's USER"),
    ("restart", "geni_restart: ready again, files and host keys kept, the program begun anew"),
    ("reload", "geni_reload: ready again, a fresh disk, host keys kept"),
];

#[test]
fn e2e_any_image_becomes_a_node() {
    // Removed after what is made of them.
    let set = Images::all(IMAGE);
    let mut bed = Bed::with(|config| {
        config
            + "\n[[sliver_type]]\nname = \"docker-container\"\n[[sliver_type]]\nname = \"read-only\"\nread_only = true\n"
    });
    let address = serve_an_archive(&mut bed);
    let services = format!(
        "<services><install url=\"http://{address}/a.tar.gz\" install_path=\"{{}}\"/>\
         <execute shell=\"sh\" command=\"echo from a command; id -u\"/></services>"
    );
    let nodes: Vec<(&str, String)> = set
        .iter()
        .map(|image| {
            let place = if image.read_only { "/tmp/installed" } else { "/srv/installed" };
            (image.name, services.replace("{}", place))
        })
        .collect();
    let nodes: Vec<(&str, &str)> = nodes.iter().map(|(name, inside)| (*name, inside.as_str())).collect();
    let mut text = request_with(&nodes);
    for image in set.iter() {
        let kind = if image.read_only { "read-only" } else { "docker-container" };
        let from = format!(
            "<node client_id=\"{}\" exclusive=\"false\"><sliver_type name=\"docker-container\"/>",
            image.name
        );
        assert!(text.contains(&from));
        let to = from.replace(
            "\"docker-container\"/>",
            &format!("\"{kind}\"><disk_image name=\"{}\"/></sliver_type>", image.reference),
        );
        text = text.replace(&from, &to);
    }
    let file = bed.file("odd.rspec", &text);
    let folder = bed.testbed().folder().to_owned();
    let bob = folder.join("bob").to_string_lossy().into_owned();
    run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", "bob", "-f", &bob]);
    bed.ok(&format!("am allocate demo {file}"));
    bed.ok(&format!("am provision demo --user urn:publicid:IDN+localhost+user+bob={bob}.pub"));
    let mut seen = settled(&mut bed, &set);

    let ways = ways(&mut bed, &set, &folder);
    let mut rows: Vec<Row> = set.iter().map(|image| Row::of(image, &seen[image.name])).collect();
    let living =
        |rows: &[Row]| rows.iter().filter(|row| row.is_ready()).map(|row| row.name).collect::<Vec<_>>();
    on_each(&mut rows, |row| {
        let subject = Subject::new(&set, &ways, &seen, row.name);
        row.server = subject.server();
        for (feature, cell) in subject.once() {
            row.set(feature, cell);
        }
    });
    for (action, feature) in [("geni_restart", "restart"), ("geni_reload", "reload")] {
        on_each(&mut rows, |row| {
            row.before = Subject::new(&set, &ways, &seen, row.name).mark(feature);
        });
        let mut line = format!("am perform demo {action}");
        for name in living(&rows) {
            line += &format!(" --sliver {}", seen[name]["urn"].as_str().unwrap());
        }
        bed.ok(&line);
        seen = settled(&mut bed, &set);
        on_each(&mut rows, |row| {
            let cell = Subject::new(&set, &ways, &seen, row.name).after(feature, &row.before);
            row.set(feature, cell);
        });
    }
    bed.ok("am delete demo");
    bed.wait_until_gone(&[]);
    compare(&page::render(&rows));
}

/// Does this for every image that is a node, some at a time.
fn on_each(rows: &mut [Row], work: impl Fn(&mut Row) + Sync) {
    let work = &work;
    for some in rows.chunks_mut(4) {
        std::thread::scope(|scope| {
            for row in some.iter_mut().filter(|row| row.is_ready()) {
                scope.spawn(move || work(row));
            }
        });
    }
}

/// Brings up what the others install from, in their slice; its address.
fn serve_an_archive(bed: &mut Bed) -> String {
    let root = bed.testbed().folder().join("web");
    std::fs::create_dir_all(root.join("tree/inner")).unwrap();
    std::fs::write(root.join("tree/inner/file"), "from the archive").unwrap();
    let archive = root.join("a.tar.gz").to_string_lossy().into_owned();
    run("tar", &["-C", &root.join("tree").to_string_lossy(), "-czf", &archive, "inner"]);
    let file = bed.file("web.rspec", &request(&["web"]));
    bed.ok(&format!("am up {file} --slice demo"));
    let text = run("base64", &["-w0", &archive]);
    bed.ssh("demo", "web", &format!("echo {} | base64 -d > a.tar.gz", text.trim()));
    let server = bed.file("server.pl", crate::services::SERVER);
    let text = run("base64", &["-w0", &server]);
    bed.ssh(
        "demo",
        "web",
        &format!(
            "sudo mkdir -p /srv/web; sudo mv a.tar.gz /srv/web; echo {} | base64 -d > server.pl",
            text.trim()
        ),
    );
    bed.ssh("demo", "web", "sudo setsid perl server.pl > /dev/null 2>&1 < /dev/null &");
    bed.ssh("demo", "web", "hostname -I").split_whitespace().next().unwrap().to_owned()
}

/// Waits until every node is ready, with its services ended, or failed; their status by name.
fn settled(bed: &mut Bed, set: &[Image]) -> BTreeMap<&'static str, serde_json::Value> {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(180);
    loop {
        let slivers = bed.status("demo");
        let one =
            |image: &Image| slivers.iter().find(|sliver| sliver["client_id"] == image.name).unwrap().clone();
        let all: BTreeMap<_, _> = set.iter().map(|image| (image.name, one(image))).collect();
        let over = |sliver: &serde_json::Value| {
            let on_its_way = |service: &serde_json::Value| {
                ["waiting", "running"].contains(&service["state"].as_str().unwrap_or_default())
            };
            match sliver["operational"].as_str() {
                Some("geni_failed") => true,
                Some("geni_ready") => !sliver["services"].as_array().into_iter().flatten().any(on_its_way),
                _ => false,
            }
        };
        if all.values().all(over) {
            return all;
        }
        // What is stuck is a finding of the page.
        if std::time::Instant::now() > deadline {
            eprintln!("stuck: {all:#?}\n{}", bed.testbed().log());
            return all;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(250));
    }
}

/// How to reach each node, for both users.
fn ways(bed: &mut Bed, set: &[Image], folder: &Path) -> BTreeMap<&'static str, Way> {
    let config = bed.ok("am ssh-config demo");
    let config = bed.file("demo.ssh", &config);
    let ways = set.iter().map(|image| (image.name, Way::new(&config, image.name, folder)));
    ways.collect()
}

/// Holds what was seen against the page.
fn compare(seen: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/images.md");
    if std::env::var_os("TESTYARD_BLESS").is_some() {
        std::fs::write(&path, seen).unwrap();
        return;
    }
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = seen.lines().filter(|line| !page.lines().any(|known| known == *line));
    assert!(
        page == seen,
        "docs/reference/images.md says something else than what was seen; TESTYARD_BLESS=1 writes it anew. New or \
         changed lines:\n{}",
        differs.collect::<Vec<_>>().join("\n")
    );
}

/// A cell of what was tried.
fn cell(tried: Result<(), String>) -> Cell {
    match tried {
        Ok(()) => Cell::Yes,
        Err(why) => Cell::No(why),
    }
}
