use std::error::Error as _;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use assetd::{Code, Error, Reason};

use crate::client_of_nobody;

/// What is refused is refused before anybody is called.
async fn refused(source: &Path, exclude: &[&str]) -> Error {
    client_of_nobody().push(source, "a").exclude(exclude.iter().copied()).await.unwrap_err()
}

#[tokio::test]
async fn what_is_no_plain_file_is_refused_by_its_kind() {
    for kind in ["a symlink", "a hard link", "a FIFO", "a socket"] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("fine"), "x").unwrap();
        let odd = folder.path().join("odd");
        match kind {
            "a symlink" => symlink("fine", &odd).unwrap(),
            "a hard link" => {
                let outside =
                    tempfile::NamedTempFile::new_in(folder.path().parent().unwrap()).unwrap();
                fs::hard_link(outside.path(), &odd).unwrap();
                let failure = refused(folder.path(), &[]).await;
                assert_eq!(failure.metadata()["kind"], kind);
                continue;
            }
            "a FIFO" => {
                let made = std::process::Command::new("mkfifo").arg(&odd).status().unwrap();
                assert!(made.success());
            }
            _ => drop(UnixListener::bind(&odd).unwrap()),
        }
        for source in [folder.path(), &odd] {
            let failure = refused(source, &[]).await;
            assert_eq!(failure.reason(), Some(Reason::UnsupportedFile), "{failure}");
            assert_eq!(failure.code(), Code::FailedPrecondition);
            assert_eq!(failure.metadata()["path"], odd.to_str().unwrap());
            assert_eq!(failure.metadata()["kind"], kind);
        }
        let left_out = refused(folder.path(), &["odd"]).await;
        assert!(left_out.is_daemon_unavailable(), "what is left out is not looked at: {left_out}");
    }
}

#[tokio::test]
async fn a_link_whose_path_ends_with_a_slash_is_a_link() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("model")).unwrap();
    fs::write(folder.path().join("model/a"), "x").unwrap();
    let link = folder.path().join("link");
    symlink("model", &link).unwrap();
    let slashed = |path: &Path| format!("{}//", path.display());
    let failure = refused(Path::new(&slashed(&link)), &[]).await;
    assert_eq!(failure.reason(), Some(Reason::UnsupportedFile), "{failure}");
    assert_eq!(failure.metadata()["path"], link.to_str().unwrap());
    let listed = refused(Path::new(&slashed(&folder.path().join("model"))), &[]).await;
    assert!(listed.is_daemon_unavailable(), "{listed}");
}

#[tokio::test]
async fn names_that_no_asset_can_have_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(OsStr::from_bytes(b"\xff")), "x").unwrap();
    let failure = refused(folder.path(), &[]).await;
    assert_eq!(failure.reason(), Some(Reason::InvalidPart));
    assert!(failure.metadata()["path"].contains("\\xFF"), "{failure}");

    let deep = tempfile::tempdir().unwrap();
    let mut below = deep.path().to_owned();
    (0..5).for_each(|_| below.push("d".repeat(250)));
    fs::create_dir_all(&below).unwrap();
    assert!(refused(deep.path(), &[]).await.message().contains("1024"));
}

#[tokio::test]
async fn folders_without_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let failure = refused(folder.path(), &[]).await;
    assert_eq!(
        (failure.code(), failure.reason()),
        (Code::InvalidArgument, Some(Reason::InvalidPart))
    );
    fs::create_dir(folder.path().join("empty")).unwrap();
    fs::write(folder.path().join("a"), "x").unwrap();
    assert!(refused(folder.path(), &[]).await.metadata()["path"].ends_with("/empty"));
    assert!(refused(folder.path(), &["empty/**"]).await.is_daemon_unavailable());
    assert_eq!(refused(folder.path(), &["**"]).await.reason(), Some(Reason::InvalidPart));
}

#[tokio::test]
async fn globs_are_for_folders_and_match_something() {
    let file = tempfile::NamedTempFile::new().unwrap();
    assert_eq!(refused(file.path(), &["x"]).await.reason(), Some(Reason::InvalidField));
    assert_eq!(refused(Path::new("/nowhere"), &["x/"]).await.reason(), Some(Reason::InvalidField));
}

#[tokio::test]
async fn what_cannot_be_read_fails_as_the_system_does() {
    let failure = refused(Path::new("/nowhere/model"), &[]).await;
    assert_eq!((failure.code(), failure.reason()), (Code::Unknown, None));
    let cause = failure.source().unwrap().downcast_ref::<io::Error>().unwrap();
    assert_eq!(cause.kind(), io::ErrorKind::NotFound);
}

#[tokio::test]
async fn a_digest_is_what_sha256sum_gives() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("model");
    fs::create_dir_all(root.join("a")).unwrap();
    // Bytewise, "a.b" is before "a/b".
    for name in ["a/b", "a.b", "z"] {
        fs::write(root.join(name), name).unwrap();
    }
    fs::write(root.join(".SUCCESS"), "").unwrap();
    let line = "LC_ALL=C; cd \"$1\" && sha256sum a.b a/b z | sha256sum";
    let shell =
        std::process::Command::new("sh").args(["-c", line, "sh"]).arg(&root).output().unwrap();
    let printed = String::from_utf8(shell.stdout).unwrap();
    let expected = format!("sha256:{}", printed.split_whitespace().next().unwrap());
    assert_eq!(assetd::digest(&root).await.unwrap(), expected);

    symlink("z", root.join("link")).unwrap();
    assert!(assetd::digest(&root).await.unwrap_err().message().contains("link"));
    assert!(assetd::digest("/nowhere").await.is_err());
}
