//! Files as people give them, and as attackers do.

use std::io::{Read as _, Write as _};

use tar::{Builder, EntryType, Header};

use super::*;

const LABEL: &str = "testyard.build=main";

/// An entry: path, contents.
type Row<'a> = (&'a str, &'a [u8]);

fn make_tar(rows: &[Row<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (path, bytes) in rows {
        let mut header = Header::new_gnu();
        let (kind, link) = match path.split_once(" -> ") {
            Some((_, target)) => (EntryType::Symlink, Some(target)),
            None => (EntryType::Regular, None),
        };
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_size(bytes.len() as u64);
        let path = path.split(" -> ").next().unwrap();
        match link {
            Some(target) => builder.append_link(&mut header, path, target).unwrap(),
            None => builder.append_data(&mut header, path, *bytes).unwrap(),
        }
    }
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// What is in an archive for the engine: paths and contents.
type Entries = Vec<(String, Vec<u8>)>;

fn prepared(bytes: &[u8], unpacked: u64) -> Result<(Recipe, Entries), PrepareError> {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { unpacked, folder: folder.path().to_owned() };
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    let prepared = prepare(&mut file, &limits, LABEL, "amd64")?;
    let mut entries = Vec::new();
    for entry in tar::Archive::new(prepared.archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let mut contents = Vec::new();
        entry.read_to_end(&mut contents).unwrap();
        entries.push((path, contents));
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing stays");
    Ok((prepared.recipe, entries))
}

fn refused(bytes: &[u8]) -> String {
    testyard_fetch::text::chain(&prepared(bytes, 1 << 20).unwrap_err())
}

fn names(entries: &[(String, Vec<u8>)]) -> Vec<&str> {
    entries.iter().map(|(path, _)| path.as_str()).collect()
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest as _, Sha256};
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_dockerfile_alone() {
    let (recipe, entries) = prepared(b"FROM debian:12\nRUN true\n", 1 << 20).unwrap();
    assert_eq!(recipe, Recipe::Build { bases: vec!["debian:12".parse().unwrap()] });
    let text = "FROM debian:12\nLABEL testyard.build=main\nRUN true\n".as_bytes().to_vec();
    assert_eq!(entries, [("Dockerfile".to_owned(), text)]);
}

#[test]
fn archives_with_a_dockerfile() {
    let at_root = make_tar(&[("Dockerfile", b"FROM a:1\n"), ("src/x", b"x"), ("l -> src/x", b"")]);
    let (_, entries) = prepared(&gzip(&at_root), 1 << 20).unwrap();
    assert_eq!(names(&entries), ["Dockerfile", "l", "src/x"]);
    let in_folder = make_tar(&[("lab-main/Dockerfile", b"FROM a:1\n"), ("lab-main/x", b"x"), ("other", b"")]);
    let (_, entries) = prepared(&in_folder, 1 << 20).unwrap();
    assert_eq!(names(&entries), ["Dockerfile", "x"]);
    let (_, entries) = prepared(&make_tar(&[("Containerfile", b"FROM a:1\n")]), 1 << 20).unwrap();
    assert_eq!(names(&entries), ["Dockerfile", "Containerfile"]);
}

#[test]
fn what_a_dockerignore_excludes_is_not_sent() {
    let tar = |ignore: &str, text: &[u8]| {
        make_tar(&[
            ("lab/Dockerfile", b"FROM a:1\n"),
            (ignore, text),
            ("lab/key", b"x"),
            ("lab/big/a", b""),
            ("lab/big/b", b""),
        ])
    };
    let with = |ignore: &str, text: &str| {
        let (_, entries) = prepared(&tar(ignore, text.as_bytes()), 1 << 20).unwrap();
        names(&entries).join(" ")
    };
    assert_eq!(with("lab/.dockerignore", "key\nbig\n!big/b\n"), "Dockerfile .dockerignore big/b");
    // The Dockerfile itself is needed, whatever is said of it.
    assert_eq!(with("lab/Dockerfile.dockerignore", "*\n"), "Dockerfile");
    // That of another folder says nothing.
    assert_eq!(with("lab/big/.dockerignore", "*\n"), "Dockerfile big/.dockerignore big/a big/b key");
    assert!(refused(&tar("lab/.dockerignore", b"ok\n[")).contains("line 2 is no pattern"));
    assert!(refused(&tar("lab/.dockerignore", b"\xff")).contains("UTF-8"));
}

#[test]
fn archives_without_one() {
    let none = refused(&make_tar(&[("README", b""), ("a/b/Dockerfile", b"FROM a:1")]));
    assert!(none.contains("no Dockerfile") && none.contains("README, a"), "{none}");
    let two = refused(&make_tar(&[("a/Dockerfile", b""), ("b/Dockerfile", b"")]));
    assert!(two.contains("2 Dockerfiles, in a, b"), "{two}");
    assert!(refused(&make_tar(&[("Dockerfile -> /etc/passwd", b"")])).contains("is no file"));
    assert!(refused(&make_tar(&[("Dockerfile", b"FROM \xff")])).contains("UTF-8"));
}

#[test]
fn what_is_something_else() {
    for (bytes, what) in [
        (&b""[..], "empty"),
        (b"<!doctype html>", "a web page"),
        (b"\xfd7zXZ\0rest", "packed by xz"),
        (b"\x28\xb5\x2f\xfdrest", "packed by zstd"),
        (b"\x7fELF\xff\xfe", "neither an archive nor a text"),
    ] {
        assert!(refused(bytes).contains(what), "{}", refused(bytes));
    }
    assert!(refused(&gzip(b"FROM a:1\n")).contains("no tar archive"));
    assert!(refused("FROM a:1\n".repeat(40_000).as_bytes()).contains("longer than"));
    assert!(refused(b"hello").contains("it has no FROM"));
}

#[test]
fn archives_that_explode() {
    let zeros = vec![0; 4 << 20];
    let bomb = gzip(&make_tar(&[("Dockerfile", b"FROM a:1\n"), ("zeros", &zeros)]));
    assert!(bomb.len() < 20_000);
    assert!(refused(&bomb).contains("more than the allowed 1048576 bytes"), "{}", refused(&bomb));
    let rows: Vec<(String, &[u8])> = (0..60_000).map(|number| (format!("f{number}"), &b""[..])).collect();
    let rows: Vec<Row<'_>> = rows.iter().map(|(path, bytes)| (path.as_str(), *bytes)).collect();
    let error = testyard_fetch::text::chain(&prepared(&make_tar(&rows), 1 << 30).unwrap_err());
    assert!(error.contains("more than 50000 entries"), "{error}");
}

fn config(layers: usize) -> Vec<u8> {
    let ids: Vec<String> = (0..layers).map(|_| format!("sha256:{}", "0".repeat(64))).collect();
    serde_json::json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": ids}})
        .to_string()
        .into_bytes()
}

#[test]
fn what_docker_has_saved_loses_its_names() {
    let manifest =
        br#"[{"Config":"abc.json","RepoTags":["debian:12"],"Layers":["l1/layer.tar","l2/layer.tar"]}]"#;
    let archive = make_tar(&[
        ("manifest.json", manifest),
        ("repositories", b"{\"debian\":{\"12\":\"x\"}}"),
        ("abc.json", &config(2)),
        ("l1/layer.tar", b"one"),
        ("l2/layer.tar -> ../l1/layer.tar", b""),
    ]);
    let (recipe, entries) = prepared(&archive, 1 << 20).unwrap();
    assert_eq!(recipe, Recipe::Load);
    assert_eq!(names(&entries), ["0.tar", "1.tar", "config.json", "manifest.json"]);
    assert_eq!((&entries[0].1, &entries[1].1), (&b"one".to_vec(), &b"one".to_vec()));
    let written = String::from_utf8(entries[3].1.clone()).unwrap();
    assert_eq!(written, r#"[{"Config":"config.json","Layers":["0.tar","1.tar"]}]"#);
}

#[test]
fn saved_images_that_are_not_taken() {
    let save = |manifest: &str, rows: &[Row<'_>]| {
        refused(&make_tar(&[&[("manifest.json", manifest.as_bytes())], rows].concat()))
    };
    let one = r#"[{"Config":"c.json","Layers":["l.tar"]}]"#;
    let two = r#"[{"Config":"c","Layers":[]},{"Config":"d","Layers":[]}]"#;
    assert!(save(two, &[]).contains("2 are saved"));
    assert!(save("{", &[]).contains("no sound manifest.json"));
    assert!(save(one, &[]).contains("lacks its configuration c.json"));
    assert!(save(one, &[("c.json", &config(1))]).contains("lacks l.tar"));
    assert!(save(one, &[("c.json", &config(2)), ("l.tar", b"x")]).contains("list of layers"));
    assert!(
        save(one, &[("c.json", br#"{"architecture":"s390x"}"#), ("l.tar", b"x")]).contains("it is for s390x")
    );
    assert!(
        save(one, &[("c.json", &config(1)), ("l.tar", b"\x28\xb5\x2f\xfd..")]).contains("packed by zstd")
    );
    let bomb = gzip(&vec![0; 4 << 20]);
    assert!(save(one, &[("c.json", &config(1)), ("l.tar", &bomb)]).contains("more than the allowed"));
    let outside = r#"[{"Config":"../../etc/passwd","Layers":[]}]"#;
    assert!(save(outside, &[]).contains("lacks its configuration"));
}

/// An OCI layout of one image for each of some architectures.
fn layout(architectures: &[&str], damage: bool) -> Vec<u8> {
    let (layer, config) = (gzip(b"layer"), config(1));
    let described = |bytes: &[u8], kind: &str| serde_json::json!({"mediaType": format!("application/vnd.oci.image.{kind}"), "digest": format!("sha256:{}", sha256(bytes)), "size": bytes.len()});
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "config": described(&config, "config.v1+json"),
        "layers": [described(&layer, "layer.v1.tar+gzip")],
    })
    .to_string()
    .into_bytes();
    let of = |architecture: &&str| {
        let mut one = described(&manifest, "manifest.v1+json");
        one["platform"] = serde_json::json!({"architecture": architecture, "os": "linux"});
        one
    };
    let inner = serde_json::json!({"schemaVersion": 2, "manifests": architectures.iter().map(of).collect::<Vec<_>>()})
        .to_string()
        .into_bytes();
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [described(&inner, "index.v1+json")]})
        .to_string();
    let path = |bytes: &[u8]| format!("blobs/sha256/{}", sha256(bytes));
    let stored = if damage { b"other".to_vec() } else { layer.clone() };
    make_tar(&[
        ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#),
        ("index.json", index.as_bytes()),
        (&path(&inner), &inner),
        (&path(&manifest), &manifest),
        (&path(&config), &config),
        (&path(&layer), &stored),
    ])
}

#[test]
fn an_oci_layout_gives_the_image_of_this_host() {
    let (recipe, entries) = prepared(&layout(&["arm64", "amd64"], false), 1 << 20).unwrap();
    assert_eq!((recipe, names(&entries)), (Recipe::Load, vec!["0.tar", "config.json", "manifest.json"]));
    assert_eq!(entries[0].1, gzip(b"layer"));
    let elsewhere = refused(&layout(&["arm64", "s390x"], false));
    assert!(elsewhere.contains("this host, which is amd64: it is for arm64, s390x"), "{elsewhere}");
    assert!(refused(&layout(&["amd64", "amd64"], false)).contains("2 are saved"));
    assert!(refused(&layout(&["amd64"], true)).contains("not what its digest says"));
}
