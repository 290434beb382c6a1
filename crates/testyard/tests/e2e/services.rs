//! Installs and executes.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::{Bed, request_with, run};

/// The namespace of what only Testyard reads in a request.
const TESTYARD: &str = "http://testyard.dev/rspec/ext/testyard/1";

/// A web server in Perl, which every Debian has: files of its folder, and 404.
pub(crate) const SERVER: &str = r#"use IO::Socket::INET;
my $s = IO::Socket::INET->new(LocalPort => 80, Listen => 50, ReuseAddr => 1) or die $!;
while (my $c = $s->accept) {
  my $request = <$c>; while (my $line = <$c>) { last if $line =~ /^\r?$/ }
  my ($name) = $request =~ m{^GET /([a-z.]+) }; my $file = "/srv/web/" . ($name // "");
  if ($name && open(my $f, "<:raw", $file)) {
    my $size = -s $file; binmode $c;
    print $c "HTTP/1.1 200 OK\r\nContent-Length: $size\r\nConnection: close\r\n\r\n"; print $c $_ while <$f>;
  } else { print $c "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" }
  close $c;
}"#;

/// Brings up a node that serves these files to the others of its slice; its address.
fn serve(bed: &mut Bed, files: &[&Path]) -> String {
    bed.up("demo", &["web"]);
    bed.ssh("demo", "web", "sudo mkdir -p /srv/web && sudo chown ann /srv/web");
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let text = run("base64", &["-w0", &file.to_string_lossy()]);
        bed.ssh("demo", "web", &format!("echo {} | base64 -d > /srv/web/{name}", text.trim()));
    }
    let script = bed.file("server.pl", SERVER);
    let text = run("base64", &["-w0", &script]);
    bed.ssh("demo", "web", &format!("echo {} | base64 -d > server.pl", text.trim()));
    bed.ssh("demo", "web", "sudo setsid perl server.pl > /dev/null 2>&1 < /dev/null &");
    bed.ssh("demo", "web", "hostname -I").split_whitespace().next().unwrap().to_owned()
}

/// Waits until all services of the node have ended.
fn wait_for_services(bed: &mut Bed, node: &str) -> Vec<serde_json::Value> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let sliver = bed.status("demo").into_iter().find(|sliver| sliver["client_id"] == node).unwrap();
        let services = sliver["services"].as_array().cloned().unwrap_or_default();
        if !services.is_empty() && services.iter().all(|service| service["state"] == "exited") {
            return services;
        }
        assert!(Instant::now() < deadline, "{services:#?}");
    }
}

#[test]
fn e2e_installs_and_executes() {
    let mut bed = Bed::new();
    let root = bed.testbed().folder().join("web");
    let tree = root.join("tree");
    fs::create_dir_all(tree.join("inner")).unwrap();
    fs::write(tree.join("inner/file"), "from the archive").unwrap();
    let files = ["a.tar.gz", "b.tar", "c.zip", "script.sh"].map(|name| root.join(name));
    let path = |index: usize| files[index].to_string_lossy().into_owned();
    let tree = tree.to_string_lossy().into_owned();
    run("tar", &["-C", &tree, "-czf", &path(0), "inner"]);
    run("tar", &["-C", &tree, "-cf", &path(1), "inner"]);
    let zip = "import shutil,sys; shutil.make_archive(sys.argv[1][:-4], 'zip', sys.argv[2])";
    run("python3", &["-c", zip, &path(2), &tree]);
    fs::write(&files[3], "echo script").unwrap();
    let address = serve(&mut bed, &files.each_ref().map(|file| file.as_path()));

    let inside = format!(
        "<services>\
         <install url=\"http://{address}/a.tar.gz\" install_path=\"/srv/a\"/>\
         <install url=\"http://{address}/b.tar\" install_path=\"/srv/b\"/>\
         <install url=\"http://{address}/c.zip\" install_path=\"/srv/c\"/>\
         <install url=\"http://{address}/script.sh\" install_path=\"/srv\"/>\
         <execute shell=\"sh\" command=\"cat /srv/a/inner/file &amp;&amp; echo 'a; b' &gt;&amp;2; exit 3\"/>\
         <execute shell=\"/bin/bash\" command=\"echo $BASH_VERSION | cut -c1\"/>\
         <execute shell=\"sh\" command=\"date +%s%N &gt;&gt; /root/ran\"/>\
         </services>"
    );
    let file = bed.file("services.rspec", &request_with(&[("one", &inside)]));
    bed.ok(&format!("am up {file} --slice demo"));
    for path in ["/srv/a/inner/file", "/srv/b/inner/file", "/srv/c/inner/file"] {
        assert_eq!(bed.ssh("demo", "one", &format!("cat {path}")), "from the archive", "{path}");
    }
    assert_eq!(bed.ssh("demo", "one", "cat /srv/script.sh"), "echo script");
    let services = wait_for_services(&mut bed, "one");
    assert_eq!(services.len(), 7, "{services:#?}");
    assert_eq!(services[4]["exit_code"], 3);
    assert_eq!(bed.ssh("demo", "one", "sudo cat /tmp/startup-1.status").trim(), "3");
    assert_eq!(bed.ssh("demo", "one", "sudo cat /tmp/startup-1.txt"), "from the archivea; b\n");
    assert!(bed.ssh("demo", "one", "sudo cat /tmp/startup-2.txt").starts_with('5'));
    assert!(bed.manifest("demo").contains("/tmp/startup-3.txt"));

    let sliver = bed.status("demo").into_iter().find(|sliver| sliver["client_id"] == "one").unwrap();
    let urn = sliver["urn"].as_str().unwrap().to_owned();
    bed.ok(&format!("am perform demo geni_restart --sliver {urn} --wait"));
    assert_eq!(bed.ssh("demo", "one", "sudo cat /root/ran").lines().count(), 1, "services run once per disk");
    bed.ok(&format!("am perform demo geni_reload --sliver {urn} --wait"));
    wait_for_services(&mut bed, "one");
    assert_eq!(
        bed.ssh("demo", "one", "sudo cat /root/ran").lines().count(),
        1,
        "a fresh disk runs them again"
    );
}

#[test]
fn e2e_a_failed_install_is_said_and_ssh_stays_open() {
    let mut bed = Bed::new();
    let address = serve(&mut bed, &[]);
    let inside = format!(
        "<services><install url=\"http://{address}/missing.tar.gz\" install_path=\"/srv\"/>\
         <execute shell=\"sh\" command=\"touch /root/ran\"/></services>"
    );
    let file = bed.file("bad.rspec", &request_with(&[("one", &inside)]));
    let (code, error) = bed.fails(&format!("am up {file} --slice demo"));
    assert!(code == 4 && error.contains("missing.tar.gz") && error.contains("404"), "{code} {error}");
    let sliver = bed.status("demo").into_iter().find(|sliver| sliver["client_id"] == "one").unwrap();
    assert_eq!(sliver["operational"], "geni_failed");
    assert!(!bed.ssh_succeeds("demo", "one", "sudo test -e /root/ran"));
    assert_eq!(bed.ssh("demo", "one", "hostname").trim(), "one");
}

#[test]
fn e2e_checksums_timeouts_and_where_the_logs_are() {
    let mut bed = Bed::new();
    let archive = bed.testbed().folder().join("a.tar");
    let word = bed.testbed().folder().join("word");
    fs::write(&word, "from the archive").unwrap();
    let folder = bed.testbed().folder().to_string_lossy().into_owned();
    run("tar", &["-C", &folder, "-cf", &archive.to_string_lossy(), "word"]);
    let good = run("sha256sum", &[&archive.to_string_lossy()]);
    let good = good.split_whitespace().next().unwrap().to_owned();
    let bad = "0".repeat(64);
    let address = serve(&mut bed, &[&archive]);

    let install = |sum: &str| {
        format!("<install url=\"http://{address}/a.tar\" install_path=\"/srv\" t:checksum=\"sha256:{sum}\"/>")
    };
    // The first command takes /tmp away, so the others' files are elsewhere.
    let one = format!(
        "<services xmlns:t=\"{TESTYARD}\">{}\
         <execute shell=\"sh\" command=\"rm -rf /tmp &amp;&amp; touch /tmp\"/>\
         <execute shell=\"sh\" command=\"cat /srv/word\"/>\
         <execute shell=\"sh\" t:timeout=\"1\" command=\"sleep 1000\"/></services>",
        install(&good)
    );
    let two = format!("<services xmlns:t=\"{TESTYARD}\">{}</services>", install(&bad));
    let file = bed.file("services.rspec", &request_with(&[("one", &one), ("two", &two)]));
    let (code, error) = bed.fails(&format!("am up {file} --slice demo"));
    assert!(code == 4 && error.contains(&good) && error.contains(&bad), "{code} {error}");

    let deadline = Instant::now() + Duration::from_secs(30);
    let services = loop {
        let sliver = bed.status("demo").into_iter().find(|sliver| sliver["client_id"] == "one").unwrap();
        let services = sliver["services"].as_array().cloned().unwrap();
        if services.len() == 4 && services[3]["state"] == "signalled" {
            break services;
        }
        assert!(Instant::now() < deadline, "{services:#?}");
    };
    assert_eq!((&services[0]["state"], &services[0]["exit_code"]), (&"exited".into(), &0.into()));
    let detail = services[3]["detail"].as_str().unwrap();
    assert!(detail.contains("1 second"), "{detail}");
    let log = services[2]["log"].as_str().unwrap();
    assert!(log.starts_with("/run/testyard/"), "{log}");
    assert_eq!(bed.ssh("demo", "one", &format!("sudo cat {log}")), "from the archive");
    let manifest = bed.manifest("demo");
    assert!(manifest.contains("log=\"/tmp/startup-1.txt\""), "where it was: {manifest}");
    assert!(manifest.contains(&format!("log=\"{log}\"")), "where it is: {manifest}");
}

#[test]
fn e2e_folders_for_data_and_nodes_that_may_fail() {
    let mut bed = Bed::new();
    let text = "testyard: 1\nnodes:\n  keeper: {storage: [/data/runs, {path: /var/spool/job, size: 10MiB}], run: 'echo made > /data/runs/first'}\n\
                \x20 odd: {image: 'nowhere.invalid/none:1', on-failure: nonfatal}\n";
    let file = bed.file("storage.yaml", text);
    let output = bed.testbed().run(["up", &file, "--slice", "lab"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && told.contains("odd has failed, and the rest goes on without it"),
        "{told}"
    );
    bed.ok("exec keeper -- sh -c true");
    let script = "stat -c %a /data/runs /var/spool/job; cat /data/runs/first; echo mine > /data/runs/second && cat /data/runs/second";
    let output = bed.testbed().run(["exec", "keeper", "--", "sh", "-c", script]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said, "1777\n1777\nmade\nmine\n", "{}", String::from_utf8_lossy(&output.stderr));
    bed.ok("restart keeper");
    bed.ok("exec keeper -- cat /data/runs/second");
    let strict = bed.file("strict.yaml", &text.replace(", on-failure: nonfatal", ""));
    let (code, error) = bed.fails(&format!("up {strict} --slice other"));
    assert!(code == 4 && error.contains("odd has failed"), "{code}: {error}");
    for slice in ["lab", "other"] {
        bed.ok(&format!("down {slice}"));
    }
}
