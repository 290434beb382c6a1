//! Installs and executes.

use std::fs;
use std::process::{Child, Command, Stdio};

use crate::support::{Bed, request_with, run};

/// A web server outside of the testbed, in a network namespace of its own with an address that nodes reach.
struct Web {
    namespace: String,
    server: Option<Child>,
    address: String,
}

impl Web {
    fn serve(bed: &mut Bed) -> Self {
        let id = std::process::id();
        let namespace = format!("tyweb{id}");
        let (near, far) = (format!("tyw{id}"), format!("tyx{id}"));
        let net = 1 + id % 250;
        let address = format!("198.18.{net}.2");
        let root = bed.testbed().folder().join("web");
        fs::create_dir_all(&root).unwrap();
        run("ip", &["netns", "add", &namespace]);
        let mut web = Self { namespace: namespace.clone(), server: None, address: address.clone() };
        run("ip", &["link", "add", &near, "type", "veth", "peer", "name", &far, "netns", &namespace]);
        run("ip", &["address", "add", &format!("198.18.{net}.1/30"), "dev", &near]);
        run("ip", &["link", "set", &near, "up"]);
        run("ip", &["-n", &namespace, "address", "add", &format!("{address}/30"), "dev", &far]);
        run("ip", &["-n", &namespace, "link", "set", &far, "up"]);
        run("ip", &["-n", &namespace, "link", "set", "lo", "up"]);
        let server = Command::new("ip")
            .args(["netns", "exec", &namespace, "python3", "-m", "http.server", "80", "--bind", &address, "--directory"])
            .arg(&root)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        web.server = Some(server);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while std::net::TcpStream::connect((address.as_str(), 80)).is_err() {
            assert!(std::time::Instant::now() < deadline, "the web server does not answer");
            std::thread::park_timeout(std::time::Duration::from_millis(30));
        }
        web
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
        let _ = Command::new("ip").args(["netns", "del", &self.namespace]).status();
    }
}

#[test]
fn e2e_installs_and_executes() {
    let mut bed = Bed::new();
    let web = Web::serve(&mut bed);
    let root = bed.testbed().folder().join("web");
    fs::create_dir_all(root.join("tree/inner")).unwrap();
    fs::write(root.join("tree/inner/file"), "from the archive").unwrap();
    let folder = |name: &str| root.join(name).to_string_lossy().into_owned();
    let tree = folder("tree");
    run("tar", &["-C", &tree, "-czf", &folder("a.tar.gz"), "inner"]);
    run("tar", &["-C", &tree, "-cf", &folder("b.tar"), "inner"]);
    run("python3", &["-c", "import shutil,sys; shutil.make_archive(sys.argv[1], 'zip', sys.argv[2])", &folder("c"), &tree]);
    fs::write(root.join("script.sh"), "echo script").unwrap();
    let address = &web.address;
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
    let ended = |bed: &mut Bed| {
        let sliver = bed.status("demo").remove(0);
        sliver["services"].as_array().unwrap().iter().all(|service| service["state"] == "exited")
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !ended(&mut bed) {
        assert!(std::time::Instant::now() < deadline, "{:#?}", bed.status("demo"));
    }
    let services = bed.status("demo").remove(0)["services"].clone();
    assert_eq!(services.as_array().unwrap().len(), 7, "{services:#?}");
    assert_eq!(services[4]["exit_code"], 3);
    assert_eq!(bed.ssh("demo", "one", "sudo cat /tmp/startup-1.status").trim(), "3");
    assert_eq!(bed.ssh("demo", "one", "sudo cat /tmp/startup-1.txt"), "from the archivea; b\n");
    assert!(bed.ssh("demo", "one", "sudo cat /tmp/startup-2.txt").starts_with('5'));
    assert!(bed.manifest("demo").contains("/tmp/startup-3.txt"));

    bed.ok("am perform demo geni_restart --wait");
    assert_eq!(bed.ssh("demo", "one", "sudo cat /root/ran").lines().count(), 1, "services run once per disk");
    bed.ok("am perform demo geni_reload --wait");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !ended(&mut bed) {
        assert!(std::time::Instant::now() < deadline);
    }
    assert_eq!(bed.ssh("demo", "one", "sudo cat /root/ran").lines().count(), 1, "a fresh disk runs them again");
}

#[test]
fn e2e_a_failed_install_is_said_and_ssh_stays_open() {
    let mut bed = Bed::new();
    let web = Web::serve(&mut bed);
    let inside = format!(
        "<services><install url=\"http://{}/missing.tar.gz\" install_path=\"/srv\"/>\
         <execute shell=\"sh\" command=\"touch /root/ran\"/></services>",
        web.address
    );
    let file = bed.file("bad.rspec", &request_with(&[("one", &inside)]));
    bed.ok(&format!("am allocate demo {file}"));
    bed.ok("am provision demo");
    bed.wait("demo", "geni_failed");
    let sliver = bed.status("demo").remove(0);
    let error = sliver["error"].as_str().unwrap();
    assert!(error.contains("missing.tar.gz") && error.contains("404"), "{error}");
    assert!(!bed.ssh_succeeds("demo", "one", "sudo test -e /root/ran"));
    assert_eq!(bed.ssh("demo", "one", "hostname").trim(), "one");
}
