use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use assetd::v1::push_progress::Phase;
use assetd::v1::push_request::Step;
use assetd::v1::push_response::Event;
use assetd::{Bump, Code, Mode, PushPhase, PushProgress, Reason, v1};
use assetd_testing::{
    PushCall, PushScript, ScriptedDaemon, Scripts, accepted, daemon_error, push_completed, pushing,
    wanted,
};
use tempfile::TempDir;
use tonic::Status;

use crate::{client_of, client_of_nobody};

/// A folder with `a` (3 bytes) and `sub/b` (2.5 MiB).
fn source() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("model");
    fs::create_dir_all(root.join("sub")).unwrap();
    fs::write(root.join("a"), "aaa").unwrap();
    fs::write(root.join("sub/b"), bytes_of_b()).unwrap();
    (folder, root)
}

fn bytes_of_b() -> Vec<u8> {
    (0..5 << 19).map(|byte: u32| (byte % 251) as u8).collect()
}

/// What a daemon heard, in short.
type Heard = Arc<Mutex<Vec<String>>>;

/// Plays a whole push that wants these, and notes what is heard.
async fn obey(mut call: PushCall, lacks: Vec<(&'static str, i64)>, heard: Heard) {
    let note = |line: String| heard.lock().unwrap().push(line);
    while let Some(step) = call.hear().await {
        match step {
            Step::Header(header) => {
                note(format!("header {} {}", header.spec, header.kind().as_str_name()));
                call.say(accepted()).await;
            }
            Step::Files(files) => {
                note(format!("files {}", files.files.len()));
                let of_these =
                    |(path, _): &&(&str, i64)| files.files.iter().any(|file| file.path == *path);
                call.say(wanted(lacks.iter().filter(of_these).copied())).await;
            }
            Step::Chunk(chunk) => {
                note(format!("chunk {} {}+{}", chunk.path, chunk.offset, chunk.data.len()));
            }
            Step::Chunks(chunks) => note(format!("{} chunks at once", chunks.chunks.len())),
            Step::Commit(commit) => {
                note(format!("commit {}", commit.digest));
                return call.say(push_completed()).await;
            }
        }
    }
    note("no commit".to_owned());
}

fn obeying(lacks: &[(&'static str, i64)], heard: &Heard) -> PushScript {
    let (lacks, heard) = (lacks.to_vec(), heard.clone());
    pushing(move |call| obey(call, lacks, heard))
}

/// Hears so many steps, says these, and fails.
fn failing(steps: usize, says: Vec<Event>, status: Status) -> PushScript {
    pushing(move |mut call| async move {
        let mut says = says.into_iter();
        for _ in 0..steps {
            call.hear().await;
            if let Some(event) = says.next() {
                call.say(event).await;
            }
        }
        for event in says {
            call.say(event).await;
        }
        call.fail(status).await;
    })
}

fn lines(heard: &Heard) -> Vec<String> {
    heard.lock().unwrap().clone()
}

#[tokio::test]
async fn a_push_sends_what_the_store_lacks_in_turns() {
    let (_folder, root) = source();
    let digest = assetd::digest(&root).await.unwrap();
    let heard = Heard::default();
    let lacks = [("a", 0), ("sub/b", 1 << 20)];
    let daemon = ScriptedDaemon::start(Scripts::pushes([obeying(&lacks, &heard)]));
    let mut shown: Vec<PushProgress> = Vec::new();
    let client = client_of(&daemon.address);
    let pushed = client
        .push(&root, "nlp/ranker")
        .progress(|progress| shown.push(progress.clone()))
        .await
        .unwrap();
    assert_eq!((pushed.name.as_str(), pushed.version.as_str()), ("nlp/ranker", "0.1"));
    let expected = [
        "header nlp/ranker ASSET_KIND_DIRECTORY".to_owned(),
        "files 2".to_owned(),
        "chunk a 0+3".to_owned(),
        format!("chunk sub/b {}+{}", 1 << 20, 1 << 20),
        format!("chunk sub/b {}+{}", 2 << 20, 1 << 19),
        format!("commit {digest}"),
    ];
    assert_eq!(lines(&heard), expected);
    let total = 3 + (5 << 19);
    assert!(shown.iter().all(|progress| progress.total_bytes == Some(total)));
    let hashed = shown.iter().rfind(|progress| progress.phase == PushPhase::Hashing).unwrap();
    assert_eq!(hashed.done_bytes, total);
    assert_eq!(shown.last().unwrap().sent_bytes, 1 << 20, "what the store has counts as done");
}

#[tokio::test]
async fn a_file_is_pushed_as_a_file() {
    let (_folder, root) = source();
    let heard = Heard::default();
    let daemon = ScriptedDaemon::start(Scripts::pushes([obeying(&[("", 0)], &heard)]));
    client_of(&daemon.address).push(root.join("a"), "nlp/ranker:1").await.unwrap();
    let digest = "sha256:9834876dcfb05cb167a5c24953eba58c4ac89b1adf57f28f2f9d09af107ee8f0";
    let commit = format!("commit {digest}");
    assert_eq!(
        lines(&heard),
        ["header nlp/ranker:1 ASSET_KIND_FILE", "files 1", "chunk  0+3", &commit]
    );
}

#[tokio::test]
async fn many_files_are_announced_a_thousand_at_a_time_before_any_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..1001 {
        fs::write(folder.path().join(format!("f{number:04}")), "x").unwrap();
    }
    let heard = Heard::default();
    let lacks = [("f0000", 0), ("f1000", 0)];
    let daemon = ScriptedDaemon::start(Scripts::pushes([obeying(&lacks, &heard)]));
    client_of(&daemon.address).push(folder.path(), "many").await.unwrap();
    let heard = lines(&heard);
    assert_eq!(heard[1..5], ["files 1000", "files 1", "chunk f0000 0+1", "chunk f1000 0+1"]);
}

#[tokio::test]
async fn the_header_says_what_was_asked_for() {
    let (_folder, root) = source();
    let heard = Arc::new(Mutex::new(v1::PushHeader::default()));
    let note = heard.clone();
    let script = pushing(move |mut call| async move {
        if let Some(Step::Header(header)) = call.hear().await {
            *note.lock().unwrap() = header;
        }
        call.fail(daemon_error(Code::FailedPrecondition, "NO_STORE", &[], None)).await;
    });
    let daemon = ScriptedDaemon::start(Scripts::pushes([script]));
    let client = client_of(&daemon.address);
    let id = "2e23ae1c-9e3d-4e9f-bb1c-3f4915d59ce4";
    let push = client.push(&root, "nlp/ranker").bump(Bump::Major).mode(Mode::New).push_id(id);
    let push = push.labels([("a", "b")]).labels([("c", "d")]).exclude(["sub/**"]);
    assert_eq!(push.await.unwrap_err().reason(), Some(Reason::NoStore));
    let header = heard.lock().unwrap().clone();
    assert_eq!(
        (header.bump(), header.mode(), header.push_id.as_str()),
        (Bump::Major, Mode::New, id)
    );
    assert_eq!((header.labels["a"].as_str(), header.labels["c"].as_str()), ("b", "d"));
    fs::remove_dir_all(root.join("sub")).unwrap();
    assert_eq!(header.digest, assetd::digest(&root).await.unwrap());
}

#[tokio::test]
async fn validation_sends_no_bytes() {
    let (_folder, root) = source();
    let heard = Heard::default();
    let daemon = ScriptedDaemon::start(Scripts::pushes([obeying(&[("a", 0)], &heard)]));
    client_of(&daemon.address).push(&root, "nlp/ranker").validate_only().await.unwrap();
    assert!(lines(&heard)[2].starts_with("commit sha256:"), "{heard:?}");
}

#[tokio::test]
async fn what_the_daemon_finds_is_not_announced() {
    let heard = Heard::default();
    let scripts = [obeying(&[], &heard), obeying(&[], &heard)];
    let daemon = ScriptedDaemon::start(Scripts::pushes(scripts));
    let client = client_of(&daemon.address);
    client.push_staged("model", "nlp/ranker").await.unwrap();
    client.push_from("s3://bucket/model", "nlp/ranker").await.unwrap();
    let once = ["header nlp/ranker ASSET_KIND_UNSPECIFIED", "commit "];
    assert_eq!(lines(&heard), [once, once].concat());
    let refused = client.push_from("s3://bucket/model", "a").exclude(["x"]).await.unwrap_err();
    assert_eq!(refused.reason(), Some(Reason::InvalidField));
}

#[tokio::test]
async fn a_push_that_is_cut_is_continued_under_its_id() {
    let (_folder, root) = source();
    let heard = Heard::default();
    let in_the_way = daemon_error(Code::Aborted, "PUSH_IN_PROGRESS", &[], None);
    let daemon = ScriptedDaemon::start(Scripts::pushes([
        failing(1, vec![accepted()], Status::unavailable("going")),
        // What something on the way may make of a cut.
        failing(2, vec![accepted(), wanted([("a", 0)])], Status::internal("reset")),
        // Its own earlier try, which the daemon does not know to be dead yet.
        failing(1, vec![], in_the_way),
        obeying(&[("a", 0)], &heard),
    ]));
    let pushed = client_of(&daemon.address).push(&root, "nlp/ranker").await.unwrap();
    assert_eq!(pushed.version, "0.1");
    assert_eq!(lines(&heard)[2], "chunk a 0+3");
}

#[tokio::test]
async fn somebody_elses_push_is_not_waited_for() {
    let (_folder, root) = source();
    let id = "2e23ae1c-9e3d-4e9f-bb1c-3f4915d59ce4";
    let other = daemon_error(Code::Aborted, "PUSH_IN_PROGRESS", &[("push_id", "another")], None);
    let first = daemon_error(Code::Aborted, "PUSH_IN_PROGRESS", &[], None);
    let own = daemon_error(Code::Aborted, "PUSH_IN_PROGRESS", &[("push_id", id)], None);
    let heard = Heard::default();
    let daemon = ScriptedDaemon::start(Scripts::pushes([
        failing(1, vec![], other),
        failing(1, vec![], first),
        failing(1, vec![], own),
        obeying(&[], &heard),
    ]));
    let client = client_of(&daemon.address);
    for _ in 0..2 {
        let refused = client.push(&root, "nlp/ranker").push_id(id).await.unwrap_err();
        assert_eq!(refused.reason(), Some(Reason::PushInProgress));
    }
    client.push(&root, "nlp/ranker").push_id(id).await.unwrap();
}

#[tokio::test]
async fn a_source_that_changes_ends_the_push_without_a_commit() {
    // One that is sent, and one that the store has.
    for (path, content) in [("sub/b", "another".to_owned()), ("a", "bbb".to_owned())] {
        let (_folder, root) = source();
        let heard = Heard::default();
        let (changed, note) = (root.join(path), heard.clone());
        let script = pushing(move |mut call| async move {
            call.hear().await;
            // All is hashed by now.
            fs::write(changed, content).unwrap();
            call.say(accepted()).await;
            obey(call, vec![("sub/b", 0)], note).await;
        });
        let daemon = ScriptedDaemon::start(Scripts::pushes([script]));
        let failure = client_of(&daemon.address).push(&root, "nlp/ranker").await.unwrap_err();
        assert_eq!(failure.reason(), Some(Reason::SourceChanged), "{failure}");
        assert_eq!(failure.metadata()["path"], root.join(path).to_str().unwrap());
        while lines(&heard).last().is_none_or(|last| last != "no commit") {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_mismatch_is_the_sources_if_the_source_changed() {
    let (_folder, root) = source();
    let mismatch = || daemon_error(Code::InvalidArgument, "PUSH_MISMATCH", &[], None);
    let changed = root.join("a");
    let daemon = ScriptedDaemon::start(Scripts::pushes([
        failing(1, vec![], mismatch()),
        pushing(move |mut call| async move {
            call.hear().await;
            fs::write(changed, "bbb").unwrap();
            call.fail(mismatch()).await;
        }),
    ]));
    let client = client_of(&daemon.address);
    let failure = client.push(&root, "nlp/ranker").await.unwrap_err();
    assert_eq!(failure.reason(), Some(Reason::PushMismatch), "the daemon's");
    let failure = client.push(&root, "nlp/ranker").await.unwrap_err();
    assert_eq!(failure.reason(), Some(Reason::SourceChanged));
}

#[tokio::test]
async fn a_daemon_that_wants_what_was_not_announced_is_refused() {
    let (_folder, root) = source();
    let heard = Heard::default();
    let strange = vec![accepted(), wanted([("../secret", 0)])];
    let ended = pushing(|mut call| async move {
        call.hear().await;
        call.say(accepted()).await;
    });
    let daemon = ScriptedDaemon::start(Scripts::pushes([
        failing(2, strange, Status::unavailable("never said")),
        ended,
        obeying(&[], &heard),
    ]));
    let client = client_of(&daemon.address);
    for _ in 0..2 {
        let failure = client.push(&root, "nlp/ranker").await.unwrap_err();
        assert_eq!(failure.reason(), Some(Reason::Internal), "{failure}");
    }
    assert!(lines(&heard).is_empty(), "a defect is not repeated");
}

#[tokio::test]
async fn progress_is_of_every_phase() {
    let (_folder, root) = source();
    let told = |phase: Phase, received_bytes, stored_bytes| {
        let phase = phase.into();
        Event::Progress(v1::PushProgress { phase, received_bytes, stored_bytes, total_bytes: None })
    };
    let script = pushing(move |mut call| async move {
        call.hear().await;
        call.say(accepted()).await;
        call.hear().await;
        call.say(wanted([("a", 0)])).await;
        call.say(told(Phase::Receiving, 3, 0)).await;
        call.say(told(Phase::Storing, 3, 2)).await;
        call.say(told(Phase::Committing, 3, 3)).await;
        call.say(push_completed()).await;
    });
    let daemon = ScriptedDaemon::start(Scripts::pushes([script]));
    let mut phases = Vec::new();
    let client = client_of(&daemon.address);
    let push = client.push(&root, "a").progress(|progress| phases.push(progress.phase));
    push.await.unwrap();
    phases.dedup();
    assert!(phases.starts_with(&[PushPhase::Hashing, PushPhase::Sending, PushPhase::Storing]));
    assert!(phases.ends_with(&[PushPhase::Storing, PushPhase::Committing]), "{phases:?}");
}

#[tokio::test]
async fn what_no_push_can_be_is_refused_before_anything_is_read() {
    let client = client_of_nobody();
    for id in ["x", "2E23AE1C-9E3D-4E9F-BB1C-3F4915D59CE4", "2e23ae1c-9e3d-1e9f-bb1c-3f4915d59ce4"]
    {
        let refused = client.push("/nowhere", "a").push_id(id).await.unwrap_err();
        assert_eq!(refused.reason(), Some(Reason::InvalidField));
        assert_eq!(refused.metadata()["push_id"], id);
    }
    let failure = client.push("/nowhere", "a").timeout(Duration::ZERO).await.unwrap_err();
    assert!(failure.is_timeout());
}

#[tokio::test]
async fn what_is_staged_may_be_named_in_full() {
    let folder = tempfile::tempdir().unwrap();
    let heard = Heard::default();
    let daemon = ScriptedDaemon::start(Scripts::pushes([obeying(&[], &heard)]));
    let builder = assetd::Client::builder().address(&daemon.address);
    let client = builder.assets_dir(folder.path()).build().unwrap();
    let staged = folder.path().join(".assetd/push");
    client.push_staged(staged.join("model"), "nlp/ranker").await.unwrap();
    // Elsewhere the daemon is asked where its folder is, which this one does not know.
    let failure = client.push_staged(Path::new("/elsewhere"), "nlp/ranker").await.unwrap_err();
    assert_eq!(failure.code(), Code::Unimplemented);
}
