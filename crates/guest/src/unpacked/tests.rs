//! Archives as people make them, and as attackers do: what is written, and above all what is not.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use ::tar::{Builder, EntryType, Header};
use proptest::prelude::*;

use testyard_fetch::archive::{Budget, Kind, kind, unpack};

use super::*;
use crate::walk::Folder;

/// An entry of a test archive: kind, path, contents or link.
type Row<'a> = (char, &'a str, &'a str, u32);

fn make_tar(rows: &[Row<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (kind, path, text, mode) in rows {
        let mut header = Header::new_gnu();
        header.set_entry_type(match kind {
            'd' => EntryType::Directory,
            'l' => EntryType::Symlink,
            'h' => EntryType::Link,
            'c' => EntryType::Char,
            'p' => EntryType::Fifo,
            _ => EntryType::Regular,
        });
        // The library refuses to write bad paths: they are put into the header by hand.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        if matches!(kind, 'l' | 'h') {
            header.as_old_mut().linkname[..text.len()].copy_from_slice(text.as_bytes());
        }
        let contents = if *kind == 'f' { text.as_bytes() } else { b"" };
        header.set_size(contents.len() as u64);
        header.set_mode(*mode);
        header.set_mtime(1_000_000_000);
        header.set_cksum();
        builder.append(&header, contents).unwrap();
    }
    builder.into_inner().unwrap()
}

fn make_zip(rows: &[Row<'_>]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (index, (kind, path, text, mode)) in rows.iter().enumerate() {
        let mut crc = flate2::Crc::new();
        crc.update(text.as_bytes());
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        let deflate = index % 2 == 0;
        let packed = if deflate { encoder.finish().unwrap() } else { text.as_bytes().to_vec() };
        let method = if deflate { 8u16 } else { 0 };
        let mode = mode
            | match kind {
                'l' => 0o120_000,
                'd' => 0o040_000,
                'c' => 0o020_000,
                _ => 0o100_000,
            };
        let mut common = Vec::new();
        for part in
            [&20u16.to_le_bytes()[..], &[0, 0], &method.to_le_bytes(), &[0; 4], &crc.sum().to_le_bytes()]
        {
            common.extend_from_slice(part);
        }
        for number in [packed.len() as u32, text.len() as u32] {
            common.extend_from_slice(&number.to_le_bytes());
        }
        common.extend_from_slice(&(path.len() as u16).to_le_bytes());
        common.extend_from_slice(&[0, 0]);
        let offset = out.len() as u32;
        directory.extend_from_slice(b"PK\x01\x02\x14\x03");
        directory.extend_from_slice(&common);
        directory.extend_from_slice(&[0; 6]);
        directory.extend_from_slice(&(mode << 16).to_le_bytes());
        directory.extend_from_slice(&offset.to_le_bytes());
        directory.extend_from_slice(path.as_bytes());
        out.extend_from_slice(b"PK\x03\x04");
        out.extend_from_slice(&common);
        out.extend_from_slice(path.as_bytes());
        out.extend_from_slice(&packed);
    }
    let at = out.len() as u32;
    out.extend_from_slice(&directory);
    out.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    for count in [rows.len() as u16; 2] {
        out.extend_from_slice(&count.to_le_bytes());
    }
    out.extend_from_slice(&(directory.len() as u32).to_le_bytes());
    out.extend_from_slice(&at.to_le_bytes());
    out.extend_from_slice(&3u16.to_le_bytes());
    out.extend_from_slice(b"end");
    out
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A place beside a file that nothing may touch.
struct Ground {
    tree: tempfile::TempDir,
}

impl Ground {
    fn new() -> Self {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir(tree.path().join("target")).unwrap();
        fs::create_dir(tree.path().join("outside")).unwrap();
        fs::write(tree.path().join("outside/victim"), "precious").unwrap();
        Self { tree }
    }

    fn target(&self) -> std::path::PathBuf {
        self.tree.path().join("target")
    }

    fn unpack(&self, kind: Kind, bytes: &[u8], limit: u64) -> Result<(), ArchiveError> {
        let root = Folder::root(self.tree.path()).unwrap();
        let mut place = Place::new(root.walk([std::ffi::OsStr::new("target")], false).unwrap());
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        unpack(kind, &mut file, &mut place, &mut Budget::new(limit, 100))
    }

    fn check_outside(&self) {
        let names: Vec<_> = fs::read_dir(self.tree.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "{names:?}");
        assert_eq!(fs::read_dir(self.tree.path().join("outside")).unwrap().count(), 1);
        let victim = self.tree.path().join("outside/victim");
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
        assert_eq!(fs::metadata(&victim).unwrap().nlink(), 1);
    }
}

const GOOD: &[Row<'_>] = &[
    ('d', "./", "", 0o755),
    ('d', "site/", "", 0o500),
    ('f', "./site/run.sh", "#!/bin/sh\n", 0o4755),
    ('f', "deep/er/file", "hello", 0o640),
    ('l', "site/current", "run.sh", 0o777),
    ('f', "site/run.sh", "second", 0o755),
];

#[test]
fn good_archives_of_all_kinds() {
    let tar = make_tar(GOOD);
    for (name, bytes) in [
        ("a.tar", tar.clone()),
        ("a.tgz", gzip(&tar)),
        ("a.tar.gz", gzip(&tar)),
        ("a.zip", make_zip(GOOD)),
        ("download", gzip(&tar)),
    ] {
        let kind = kind(name, &bytes[..bytes.len().min(4096)]).unwrap();
        let ground = Ground::new();
        ground.unpack(kind, &bytes, 1 << 20).unwrap();
        let at = |path: &str| ground.target().join(path);
        assert_eq!(fs::read_to_string(at("site/run.sh")).unwrap(), "second", "{name}");
        assert_eq!(fs::metadata(at("site/run.sh")).unwrap().permissions().mode() & 0o7777, 0o755);
        assert_eq!(fs::metadata(at("deep/er/file")).unwrap().permissions().mode() & 0o7777, 0o640);
        assert_eq!(fs::metadata(at("site")).unwrap().permissions().mode() & 0o7777, 0o700);
        assert_eq!(fs::read_link(at("site/current")).unwrap(), Path::new("run.sh"));
        // A second time over what is there, as after an interruption.
        ground.unpack(kind, &bytes, 1 << 20).unwrap();
        ground.check_outside();
    }
}

#[test]
fn archives_that_escape() {
    let cases: &[&[Row<'_>]] = &[
        &[('f', "../outside/victim", "x", 0o644)],
        &[('f', "/outside/victim", "x", 0o644)],
        &[('f', "a/../../outside/victim", "x", 0o644)],
        &[('l', "link", "../outside", 0o777), ('f', "link/victim", "x", 0o644)],
        &[('l', "link", "../outside/victim", 0o777), ('f', "link", "x", 0o644)],
        &[('l', "a", ".", 0o777), ('l', "a/b", "..", 0o777), ('f', "a/b/outside/victim", "x", 0o644)],
        &[('l', "link", "../outside/victim", 0o777), ('h', "hard", "link", 0o644), ('f', "hard", "x", 0o644)],
        &[('h', "hard", "../outside/victim", 0o644), ('f', "hard", "x", 0o644)],
        &[('h', "hard", "/outside/victim", 0o644)],
        &[('d', "..", "", 0o777)],
        &[('l', "..", "outside", 0o777)],
        &[('f', "old/victim", "x", 0o644)],
        &[('d', "old/new", "", 0o755)],
        &[('h', "stolen", "old/victim", 0o644), ('f', "stolen", "x", 0o644)],
        &[('f', "old-file", "x", 0o644)],
    ];
    for rows in cases {
        for (kind, bytes) in [(Kind::Tar, make_tar(rows)), (Kind::Zip, make_zip(rows))] {
            let ground = Ground::new();
            // Links that another archive has left: as bad as one's own.
            symlink("../outside", ground.target().join("old")).unwrap();
            symlink("../outside/victim", ground.target().join("old-file")).unwrap();
            let _ = ground.unpack(kind, &bytes, 1 << 20);
            ground.check_outside();
        }
    }
}

#[test]
fn links_that_stay_inside_are_followed() {
    let ground = Ground::new();
    fs::create_dir(ground.target().join("usr")).unwrap();
    symlink("usr", ground.target().join("bin")).unwrap();
    ground
        .unpack(Kind::Tar, &make_tar(&[('d', "bin/", "", 0o755), ('f', "bin/tool", "x", 0o755)]), 1 << 20)
        .unwrap();
    assert!(ground.target().join("usr/tool").is_file());
    assert!(fs::symlink_metadata(ground.target().join("bin")).unwrap().is_symlink());
}

#[test]
fn archives_that_explode() {
    let ground = Ground::new();
    let bomb = "0".repeat(1 << 20);
    for (kind, bytes) in [
        (Kind::TarGz, gzip(&make_tar(&[('f', "bomb", &bomb, 0o644)]))),
        (Kind::Zip, make_zip(&[('f', "bomb", &bomb, 0o644)])),
    ] {
        assert!(matches!(ground.unpack(kind, &bytes, 100_000), Err(ArchiveError::TooLarge(100_000))));
    }
    let names: Vec<String> = (0..101).map(|i| format!("f{i}")).collect();
    let rows: Vec<Row<'_>> = names.iter().map(|name| ('f', name.as_str(), "", 0o644)).collect();
    assert!(matches!(ground.unpack(Kind::Tar, &make_tar(&rows), 1 << 20), Err(ArchiveError::TooMany(100))));
    assert!(matches!(ground.unpack(Kind::Zip, &make_zip(&rows), 1 << 20), Err(ArchiveError::TooMany(100))));
    // A header that claims gigabytes of path.
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::GNULongName);
    header.set_size(8 << 30);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend(vec![b'a'; 200 << 10]);
    assert!(matches!(ground.unpack(Kind::Tar, &bytes, 1 << 20), Err(ArchiveError::Damaged(_))));
}

#[test]
fn devices_and_pipes_are_refused() {
    let ground = Ground::new();
    for kind in ['c', 'p'] {
        let result = ground.unpack(Kind::Tar, &make_tar(&[(kind, "x", "", 0o644)]), 1 << 20);
        assert!(matches!(result, Err(ArchiveError::Kind { .. })));
    }
    assert!(matches!(
        ground.unpack(Kind::Zip, &make_zip(&[('c', "x", "", 0o644)]), 9999),
        Err(ArchiveError::Kind { .. })
    ));
}

#[test]
fn damage_is_told() {
    let ground = Ground::new();
    let zip = make_zip(GOOD);
    for cut in [0, 10, zip.len() / 2, zip.len() - 1] {
        assert!(ground.unpack(Kind::Zip, &zip[..cut], 1 << 20).is_err(), "{cut}");
    }
    let mut wrong = make_zip(&[('f', "b", "", 0o644), ('f', "a", "text", 0o644)]);
    let at = wrong.windows(4).position(|bytes| bytes == b"text").unwrap();
    wrong[at] = b'T';
    assert!(matches!(ground.unpack(Kind::Zip, &wrong, 1 << 20), Err(ArchiveError::Damaged(_))));
    let tar = gzip(&make_tar(GOOD));
    assert!(ground.unpack(Kind::TarGz, &tar[..tar.len() / 2], 1 << 20).is_err());
}

#[test]
fn long_names_of_gnu_and_pax() {
    let long = format!("{}/{}", "d".repeat(150), "f".repeat(150));
    let mut gnu = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_size(2);
    header.set_mode(0o600);
    gnu.append_data(&mut header, &long, &b"hi"[..]).unwrap();
    let mut pax = Builder::new(Vec::new());
    pax.append_pax_extensions([("path", long.as_bytes()), ("mtime", b"5.25")]).unwrap();
    let mut header = Header::new_ustar();
    header.set_path("short").unwrap();
    header.set_size(2);
    header.set_mode(0o600);
    header.set_cksum();
    pax.append(&header, &b"hi"[..]).unwrap();
    for bytes in [gnu.into_inner().unwrap(), pax.into_inner().unwrap()] {
        let ground = Ground::new();
        ground.unpack(Kind::Tar, &bytes, 1 << 20).unwrap();
        assert_eq!(fs::read(ground.target().join(&long)).unwrap(), b"hi");
        assert!(!ground.target().join("short").exists());
    }
    let mut bad = Builder::new(Vec::new());
    bad.append_pax_extensions([("path", &b"../outside/victim"[..])]).unwrap();
    bad.append(&header, &b"hi"[..]).unwrap();
    let ground = Ground::new();
    assert!(matches!(
        ground.unpack(Kind::Tar, &bad.into_inner().unwrap(), 1 << 20),
        Err(ArchiveError::Path(_))
    ));
}

#[test]
fn names_and_contents_must_agree() {
    let tar = make_tar(&[('f', "a", "x", 0o644)]);
    assert_eq!(kind("a.tar.gz", b"<html>not found</html>"), Err("a tar.gz archive"));
    assert_eq!(kind("a.zip", &tar), Err("a zip archive"));
    assert_eq!(kind("A.TGZ", &tar), Ok(Kind::Tar));
    assert_eq!(kind("notes.txt", &tar), Ok(Kind::File));
    assert_eq!(kind("x.jar", &make_zip(GOOD)), Ok(Kind::File));
    assert_eq!(kind("get", &make_zip(GOOD)), Ok(Kind::Zip));
    assert_eq!(kind("get", &gzip(b"just text")), Ok(Kind::File));
    assert_eq!(kind("get", b""), Ok(Kind::File));
}

/// A sink in memory, for properties.
#[derive(Default)]
struct Memory(BTreeMap<EntryPath, usize>);

impl Sink for Memory {
    fn folder(&mut self, _: &EntryPath, _: u32) -> Result<(), ArchiveError> {
        Ok(())
    }
    fn file(&mut self, path: &EntryPath, _: About, contents: &mut dyn io::Read) -> Result<(), ArchiveError> {
        let mut bytes = Vec::new();
        contents.read_to_end(&mut bytes).map_err(ArchiveError::Read)?;
        self.0.insert(path.clone(), bytes.len());
        Ok(())
    }
    fn symbolic_link(&mut self, _: &EntryPath, _: &[u8]) -> Result<(), ArchiveError> {
        Ok(())
    }
    fn hard_link(&mut self, _: &EntryPath, _: &EntryPath) -> Result<(), ArchiveError> {
        Ok(())
    }
    fn finish(&mut self) -> Result<(), ArchiveError> {
        Ok(())
    }
}

proptest! {
    #[test]
    fn paths_stay_beneath(path in proptest::collection::vec(prop_oneof![Just(b'/'), Just(b'.'), any::<u8>()], 0..40)) {
        if let Ok(path) = EntryPath::parse(&path) {
            prop_assert!(path.names().all(|name| name != ".." && name != "." && !name.is_empty()));
            prop_assert!(path.names().all(|name| !name.as_encoded_bytes().contains(&b'/')));
        }
    }

    #[test]
    fn damaged_archives_are_survived_within_the_budget(
        index in 0usize..4000, byte: u8, cut in 0usize..8000, zip: bool
    ) {
        let mut bytes = if zip { make_zip(GOOD) } else { make_tar(GOOD) };
        if let Some(place) = bytes.get_mut(index) {
            *place = byte;
        }
        bytes.truncate(cut);
        let mut memory = Memory::default();
        let mut budget = Budget::new(10_000, 50);
        let kind = if zip { Kind::Zip } else { Kind::Tar };
        let _ = unpack(kind, &mut Cursor::new(&bytes), &mut memory, &mut budget);
        prop_assert!(memory.0.values().sum::<usize>() <= 10_000);
    }
}
