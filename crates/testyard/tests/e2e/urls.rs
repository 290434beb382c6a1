//! Images of URLs, with the real engine: built, loaded, shared, removed; and what people put behind URLs to hurt.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;
use testyard_testkit::leaks;
use testyard_testkit::web::{Answer, Web};

use crate::support::{Bed, IMAGE, run};

/// A testbed whose hosts may fetch from the test's own server.
fn bed(more: &str) -> Bed {
    Bed::with(|config| format!("{config}\n[images.urls]\nnetworks = [\"127.0.0.1/32\"]\n{more}\n"))
}

/// A topology of nodes with these images.
fn topology(bed: &mut Bed, nodes: &[(&str, String)]) -> String {
    let nodes: String =
        nodes.iter().map(|(name, image)| format!("  {name}: {{image: \"{image}\"}}\n")).collect();
    bed.file("lab.yaml", &format!("nodes:\n{nodes}"))
}

fn images(bed: &mut Bed, slice: &str) -> Vec<Value> {
    let folder = bed.testbed().folder().join("run/testyard.sock");
    let socket = folder.to_string_lossy().into_owned();
    let url = format!("http://testyard/v1/slices/{slice}/images");
    serde_json::from_str(&run("curl", &["-sS", "--unix-socket", &socket, &url])).unwrap()
}

/// What the engine has of this testbed's builds.
fn built(bed: &mut Bed) -> Vec<String> {
    let instance = bed.testbed().instance().to_owned();
    leaks::find(Some(&instance))
        .into_iter()
        .filter(|line| line.starts_with("image ") || line.contains("build"))
        .collect()
}

/// Waits until the engine has nothing of builds any more, which hosts remove behind everybody's back.
fn wait_for_nothing(bed: &mut Bed) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while let left @ [_, ..] = &built(bed)[..] {
        assert!(Instant::now() < deadline, "{left:?}");
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

/// An archive of a folder with a Dockerfile, as people download it: with the folder in it.
fn zip(bed: &mut Bed, dockerfile: &str) -> Vec<u8> {
    let folder = bed.testbed().folder().join("lab-main");
    fs::create_dir_all(folder.join("files")).unwrap();
    fs::write(folder.join("Dockerfile"), dockerfile).unwrap();
    fs::write(folder.join("files/motd"), "made for you\n").unwrap();
    let parent = folder.parent().unwrap().to_string_lossy().into_owned();
    let out = bed.testbed().folder().join("lab.zip").to_string_lossy().into_owned();
    let script = "import shutil,sys; shutil.make_archive(sys.argv[1][:-4], 'zip', sys.argv[2], 'lab-main')";
    run("python3", &["-c", script, &out, &parent]);
    fs::read(out).unwrap()
}

#[test]
fn e2e_images_are_made_of_urls_and_go_with_their_nodes() {
    let mut bed = bed("");
    let web = Web::new();
    let dockerfile = format!(
        "FROM {IMAGE} AS first\nRUN ip -o -4 address show dev eth0 > /network && ip route >> /network\n\
         FROM {IMAGE}\nCOPY --from=first /network /network\nCOPY files/motd /etc/motd\nENV LAB=yes\n\
         RUN useradd -m lab && echo \"built by $(id -un)\"\n"
    );
    let archive = zip(&mut bed, &dockerfile);
    web.put("/lab.zip", archive.clone());
    web.set("/latest", Answer::Redirect("/lab.zip".to_owned()));
    let file = topology(&mut bed, &[("one", web.url("/latest")), ("two", web.url("/latest"))]);
    let said = bed.ok(&format!("up {file} --slice lab"));
    assert!(said.contains("lab  ready"), "{said}");
    assert_eq!(web.asked(), ["/latest", "/lab.zip"], "once for both");
    assert_eq!(bed.ok("exec two -- cat /etc/motd"), "made for you\n");
    // A build is where a node is: with an address and a way out, and nobody else's network.
    let network = bed.ok("exec one -- cat /network");
    assert!(network.contains("inet 10.") && network.contains("default via 169.254.1.1"), "{network}");
    let log = bed.ok("logs one --build");
    assert!(log.contains("built by root") && log.contains("COPY files/motd"), "{log}");
    let shown = images(&mut bed, "lab");
    assert_eq!((shown.len(), shown[0]["state"].as_str()), (1, Some("made")), "{shown:#?}");

    // A second slice with the same content shares it; it goes with the last node of both.
    web.put("/same.zip", archive);
    let request = format!(
        "<rspec xmlns=\"http://www.geni.net/resources/rspec/3\" type=\"request\"><node client_id=\"n\" exclusive=\"false\">\
         <sliver_type name=\"docker-container\"><disk_image url=\"{}\"/></sliver_type></node></rspec>",
        web.url("/same.zip")
    );
    let request = bed.file("same.rspec", &request);
    bed.ok(&format!("am up {request} --slice same"));
    assert!(bed.manifest("same").contains("/same.zip"), "{}", bed.manifest("same"));
    assert_eq!(built(&mut bed).len(), 1, "{:?}", built(&mut bed));
    bed.ok("down lab");
    assert_eq!(bed.ssh("same", "n", "cat /etc/motd"), "made for you\n");
    bed.ok("reload n");
    bed.ok("wait same");
    assert_eq!(bed.ssh("same", "n", "echo $LAB; cat /etc/motd").lines().last(), Some("made for you"));
    bed.ok("down same");
    wait_for_nothing(&mut bed);
}

#[test]
fn e2e_saved_images_are_loaded_and_take_nobodys_name() {
    let mut bed = bed("");
    let web = Web::new();
    // The default image with another file, under the default image's own name.
    let folder = bed.testbed().folder().to_owned();
    let tag = format!("{}-saved", bed.testbed().instance());
    let before = run("docker", &["image", "inspect", "--format", "{{.Id}}", IMAGE]);
    let container = run("docker", &["create", IMAGE, "true"]).trim().to_owned();
    let note = folder.join("note");
    fs::write(&note, "saved\n").unwrap();
    run("docker", &["cp", &note.to_string_lossy(), &format!("{container}:/note")]);
    run("docker", &["commit", &container, &format!("{tag}:1")]);
    run("docker", &["rm", &container]);
    let archive = folder.join("saved.tar").to_string_lossy().into_owned();
    run("docker", &["save", "-o", &archive, &format!("{tag}:1")]);
    run("docker", &["rmi", &format!("{tag}:1")]);
    let script = "import sys,tarfile,io\n\
                  old=tarfile.open(sys.argv[1]); new=tarfile.open(sys.argv[1]+'.new','w')\n\
                  for m in old:\n\
                  \x20b=old.extractfile(m).read() if m.isfile() else b''\n\
                  \x20if m.name=='manifest.json': b=b.replace(sys.argv[2].encode(),sys.argv[3].encode()); m.size=len(b)\n\
                  \x20new.addfile(m,io.BytesIO(b))\n\
                  new.close()";
    run("python3", &["-c", script, &archive, &format!("{tag}:1"), IMAGE]);
    let archive = format!("{archive}.new");
    web.put("/saved.tar", fs::read(&archive).unwrap());
    let digest = run("sha256sum", &[&archive]);
    let url = format!("{}#sha256={}", web.url("/saved.tar"), digest.split(' ').next().unwrap());
    let file = topology(&mut bed, &[("node", url)]);
    bed.ok(&format!("up {file} --slice saved"));
    assert_eq!(bed.ok("exec node -- cat /note"), "saved\n");
    assert_eq!(run("docker", &["image", "inspect", "--format", "{{.Id}}", IMAGE]), before);
    bed.ok("down saved");
    wait_for_nothing(&mut bed);
}

#[test]
fn e2e_what_is_behind_a_url_is_bounded_and_said() {
    let mut bed = bed(
        "download = \"16M\"\nunpacked = \"32M\"\ndisk = \"32M\"\ntime = \"20s\"\nmemory = \"128M\"\npids = 64\nat_once = 8",
    );
    let web = Web::new();
    let dockerfile = |lines: &str| format!("FROM {IMAGE}\n{lines}\n");
    web.put("/endless-run", dockerfile("RUN sleep 1000"));
    web.put("/fills", dockerfile("RUN while :; do head -c 4m /dev/zero >> /full; sleep 0.05; done"));
    web.put("/layers", dockerfile(&"RUN true\n".repeat(1000)));
    web.put("/adds", dockerfile("ADD http://169.254.169.254/latest/meta-data /x"));
    web.put("/private", dockerfile(&format!("RUN exec 3<>/dev/tcp/127.0.0.1/{}", web.port())));
    web.put("/fails", dockerfile("RUN echo the reason; exit 9"));
    web.put("/steals", "FROM built.testyard.invalid/main:1\n");
    web.set("/endless", Answer::Endless);
    web.set("/inside", Answer::Redirect("http://169.254.169.254/latest".to_owned()));
    web.set("/circle", Answer::Redirect("/circle".to_owned()));
    web.set("/lies", Answer::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nFROM".to_vec()));
    web.set(
        "/stalls",
        Answer::Stall(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nFROM".to_vec(), Duration::from_secs(90)),
    );
    let bomb = bed.testbed().folder().join("bomb.zip").to_string_lossy().into_owned();
    let script = "import zipfile,sys\nwith zipfile.ZipFile(sys.argv[1],'w',zipfile.ZIP_DEFLATED) as z:\n z.writestr('Dockerfile','FROM x:1')\n z.writestr('zeros', bytes(64<<20))";
    run("python3", &["-c", script, &bomb]);
    web.put("/bomb.zip", fs::read(&bomb).unwrap());
    let escape = bed.testbed().folder().join("escape.zip").to_string_lossy().into_owned();
    let script = "import zipfile,sys\nwith zipfile.ZipFile(sys.argv[1],'w') as z:\n z.writestr('Dockerfile','FROM x:1')\n z.writestr('../../etc/cron.d/x','x')";
    run("python3", &["-c", script, &escape]);
    web.put("/escape.zip", fs::read(&escape).unwrap());
    let cases = [
        ("/endless-run", "longer than the allowed 20 s"),
        ("/fills", "write more than the allowed 32 MiB"),
        ("/layers", "more than the 120 instructions"),
        ("/adds", "line 2: ADD: URLs are not fetched"),
        ("/private", "non-zero code"),
        ("/fails", "the reason"),
        ("/steals", "Testyard's own"),
        ("/endless", "16777216 bytes"),
        ("/inside", "169.254.169.254, which is not a public address"),
        ("/circle", "redirects"),
        ("/lies", "16777216 bytes"),
        ("/stalls", "longer than 20 s"),
        ("/bomb.zip", "unpacks to more than the allowed 33554432 bytes"),
        ("/escape.zip", "leads out of the folder"),
        ("/nothing", "status 404"),
    ];
    let nodes: Vec<(String, String)> =
        cases.iter().enumerate().map(|(number, (path, _))| (format!("n{number}"), web.url(path))).collect();
    let nodes: Vec<(&str, String)> = nodes.iter().map(|(name, url)| (name.as_str(), url.clone())).collect();
    let mut all: Vec<(&str, String)> = nodes.clone();
    all.push(("good", IMAGE.to_owned()));
    let file = topology(&mut bed, &all);
    let (_, error) = bed.fails(&format!("up {file} --slice bad"));
    assert!(error.lines().all(|line| !line.contains("panicked")), "{error}");
    let deadline = Instant::now() + Duration::from_secs(180);
    let status = loop {
        let status: Value = serde_json::from_str(&bed.ok("status bad --json")).unwrap();
        let ended = |node: &&Value| matches!(node["state"].as_str(), Some("failed" | "ready"));
        if status["nodes"].as_array().unwrap().iter().all(|node| ended(&node)) {
            break status;
        }
        assert!(Instant::now() < deadline, "{status:#}");
        std::thread::park_timeout(Duration::from_millis(200));
    };
    for (number, (path, why)) in cases.iter().enumerate() {
        let name = format!("n{number}");
        let node =
            status["nodes"].as_array().unwrap().iter().find(|node| node["name"] == name.as_str()).unwrap();
        let error = node["error"].as_str().unwrap_or_default();
        assert!(error.contains(why), "{path}: {error}");
    }
    assert_eq!(bed.ok("exec good -- echo it runs"), "it runs\n", "others do not notice");
    assert!(!std::path::Path::new("/etc/cron.d/x").exists());
    wait_for_nothing(&mut bed);
    bed.ok("down bad");
    wait_for_nothing(&mut bed);
}

#[test]
fn e2e_a_build_outlives_nothing_and_nothing_outlives_it() {
    let mut bed = bed("");
    let web = Web::new();
    web.put("/Dockerfile", format!("FROM {IMAGE}\nRUN sleep 4\nRUN echo done\n"));
    let file = topology(&mut bed, &[("node", web.url("/Dockerfile"))]);
    let mut up = bed.testbed().command();
    let mut up = up.args(["up", &file, "--slice", "lab"]).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !bed.testbed().log().contains("testyard") || built(&mut bed).is_empty() {
        assert!(Instant::now() < deadline, "no build has begun");
        std::thread::park_timeout(Duration::from_millis(50));
    }
    bed.testbed().kill();
    // It would wait for the testbed to come back.
    let _ = up.kill();
    let _ = up.wait();
    bed.testbed().serve();
    bed.ok("wait lab");
    assert!(bed.ok("logs node --build").contains("done"));
    bed.ok("down lab");
    wait_for_nothing(&mut bed);

    // Taken away in the middle.
    let mut up = bed.testbed().command();
    let mut up = up.args(["up", &file, "--slice", "other"]).spawn().unwrap();
    while built(&mut bed).is_empty() {
        assert!(Instant::now() < deadline + Duration::from_secs(60), "no build has begun");
        std::thread::park_timeout(Duration::from_millis(50));
    }
    bed.ok("down other");
    let _ = up.wait();
    wait_for_nothing(&mut bed);
}
