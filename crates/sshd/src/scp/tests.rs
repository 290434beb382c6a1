use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn sink(folder: &std::path::Path, input: &[u8]) -> (Result<(), ScpError>, Vec<u8>) {
    let words = ["-r".into(), "-p".into(), "-t".into(), folder.into()];
    let mut output = Vec::new();
    let served = serve(&options(words.into_iter()).unwrap(), input, &mut output);
    (served, output)
}

#[test]
fn a_tree_is_taken_with_times_and_modes() {
    let folder = tempfile::tempdir().unwrap();
    let script = b"D0755 0 d\nT1000000000 0 1000000001 0\nC0640 5 f\nhello\0E\n";
    let (served, output) = sink(folder.path(), script);
    served.unwrap();
    assert_eq!(output, [0; 6]);
    let file = folder.path().join("d/f");
    assert_eq!(std::fs::read(&file).unwrap(), b"hello");
    let found = file.metadata().unwrap();
    assert_eq!(found.permissions().mode() & 0o777, 0o640);
    let since = found.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(since.as_secs(), 1_000_000_000);
}

#[test]
fn names_that_escape_end_the_copy() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("in");
    std::fs::create_dir(&folder).unwrap();
    for script in [b"C0644 1 ../x\ny\0".as_slice(), b"D0755 0 ..\nC0644 1 x\ny\0", b"E\n", b"\n", b"Z\n"] {
        let (served, output) = sink(&folder, script);
        assert!(matches!(served, Err(ScpError::Protocol)));
        assert!(output.starts_with(b"\0\x02scp: "));
    }
    assert!(!outer.path().join("x").exists());
}

#[test]
fn a_file_that_cannot_be_written_is_told_of_and_the_next_one_taken() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("f")).unwrap();
    let (served, output) = sink(folder.path(), b"C0644 1 f\nC0644 1 g\ny\0");
    assert!(matches!(served, Err(ScpError::Incomplete)));
    assert!(output.starts_with(b"\0\x01scp: "));
    assert_eq!(std::fs::read(folder.path().join("g")).unwrap(), b"y");
}

#[test]
fn an_older_longer_file_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("f"), "longer than before").unwrap();
    sink(folder.path(), b"C0644 2 f\nab\0").0.unwrap();
    assert_eq!(std::fs::read(folder.path().join("f")).unwrap(), b"ab");
}

#[test]
fn what_is_given_can_be_taken() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tree = from.path().join("tree");
    std::fs::create_dir_all(tree.join("sub")).unwrap();
    std::fs::write(tree.join("sub/big"), vec![7; 300_000]).unwrap();
    std::fs::write(tree.join("empty"), "").unwrap();
    let words = ["-r".into(), "-f".into(), tree.into_os_string()];
    let mut given = Vec::new();
    serve(&options(words.into_iter()).unwrap(), [0u8; 100].as_slice(), &mut given).unwrap();
    sink(to.path(), &given).0.unwrap();
    assert_eq!(std::fs::read(to.path().join("tree/sub/big")).unwrap(), vec![7; 300_000]);
    assert_eq!(std::fs::read(to.path().join("tree/empty")).unwrap(), b"");
}

#[test]
fn only_the_far_side_is_served() {
    for words in
        [vec!["a", "b"], vec!["-t"], vec!["-t", "-f", "a"], vec!["-t", "a", "b"], vec!["-t", "-S", "a"]]
    {
        assert!(
            matches!(options(words.iter().map(|word| (*word).into())), Err(ScpError::Usage)),
            "{words:?}"
        );
    }
    assert_eq!(
        options(["-rpt", "--", "-a"].map(OsString::from).into_iter()).unwrap().paths,
        [PathBuf::from("-a")]
    );
}

#[test]
fn a_name_with_a_line_break_becomes_one_line() {
    use super::source::on_one_line;
    assert_eq!(on_one_line(b"a\nb"), b"a\\^Jb");
    assert_eq!(on_one_line(b"\\ \t\n\x7f"), b"\\\\ \t\\^J\\^?");
    assert_eq!(on_one_line("ö\u{a0}\n".as_bytes()), b"\\M-C\\M-6\\M-B\\240\\^J");
}
