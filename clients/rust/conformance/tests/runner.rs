//! The runner, spoken to as the conformance suite does.
use std::ffi::OsStr;
use std::process::Stdio;

use assetd_testing::RealDaemon;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

struct Suite {
    runner: Child,
    requests: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Suite {
    async fn begin(address: &str) -> Self {
        Self::begin_seeing(address, "").await
    }

    /// As `begin`, where ASSETS_DIR is set.
    async fn begin_seeing(address: &str, assets_dir: impl AsRef<OsStr>) -> Self {
        let mut runner = Command::new(env!("CARGO_BIN_EXE_conformance"))
            .env_clear()
            .env("ASSETD_ADDRESS", address)
            .env("ASSETS_DIR", assets_dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let requests = runner.stdin.take();
        let answers = BufReader::new(runner.stdout.take().unwrap()).lines();
        let mut suite = Self { runner, requests, answers };
        let ready = json!({"ready": {"language": "rust", "fast_path": true}});
        assert_eq!(suite.hear().await, ready);
        suite
    }

    async fn say(&mut self, line: Value) {
        self.write(&line.to_string()).await;
    }

    async fn write(&mut self, line: &str) {
        let requests = self.requests.as_mut().unwrap();
        requests.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    async fn hear(&mut self) -> Value {
        let line = self.answers.next_line().await.unwrap().expect("it goes on");
        serde_json::from_str(&line).unwrap()
    }

    /// Returns what an action ends with, past its progress.
    async fn end(&mut self, id: &str, kind: &str) -> Value {
        loop {
            let heard = self.hear().await;
            assert_eq!(heard["id"], id, "{heard}");
            if heard.get("progress").is_none() {
                return heard.get(kind).unwrap_or_else(|| panic!("no {kind}: {heard}")).clone();
            }
        }
    }

    async fn ask(&mut self, line: Value, kind: &str) -> Value {
        let id = line["id"].as_str().unwrap().to_owned();
        self.say(line).await;
        self.end(&id, kind).await
    }

    /// Returns what it said of its failure; empty if there was none.
    async fn ended(mut self) -> String {
        let requests = self.requests.take();
        let output = self.runner.wait_with_output().await.unwrap();
        drop(requests);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.success(), said.is_empty(), "{said}");
        said
    }
}

/// Compares the fields that are in `expected`.
fn require(answer: &Value, expected: Value) {
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&answer[name], value, "{name} of {answer}");
    }
}

#[tokio::test]
async fn it_does_what_the_suite_asks() {
    let Some(daemon) = RealDaemon::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a"), "aaa").unwrap();
    let mut suite = Suite::begin(&daemon.address).await;

    let pushed = suite
        .ask(
            json!({"id": "p", "do": "push", "source": folder.path(), "spec": "nlp/ranker", "mode": "NEW",
                "bump": "MAJOR", "labels": {"a": "b"}}),
            "answer",
        )
        .await;
    let expected = json!({"name": "nlp/ranker", "already_existed": false, "labels": {"a": "b"}, "size_bytes": 3});
    require(&pushed, expected);
    let version = pushed["version"].as_str().unwrap();
    let spec = format!("nlp/ranker:{version}");

    let resolve = json!({"id": "r", "do": "resolve", "spec": "nlp/ranker", "freshness": "STORE", "store_timeout": 60});
    require(&suite.ask(resolve, "answer").await, json!({"version": version, "presence": "ABSENT"}));
    let hold = json!({"id": "h", "do": "hold", "spec": "nlp/ranker", "progress_interval": 0.05, "timeout": 60});
    let expected = json!({"source": "STORE", "kind": "DIRECTORY", "size_bytes": 3,
        "transferred_bytes": 3, "digest": pushed["digest"]});
    require(&suite.ask(hold, "answer").await, expected);
    let fetch = json!({"id": "f", "do": "fetch", "spec": spec, "verify": true});
    let path = daemon.assets_dir.join("nlp/ranker").join(version);
    require(&suite.ask(fetch, "answer").await, json!({"source": "CACHE", "path": path}));
    suite.say(json!({"do": "release", "of": "h"})).await;

    let list = json!({"id": "l", "do": "list", "prefix": "nlp/", "scope": "ALL", "full": true, "limit": 1});
    require(
        &suite.ask(list, "entry").await,
        json!({"spec": spec, "presence": "PRESENT", "in_store": true}),
    );
    require(&suite.end("l", "answer").await, json!({"count": 1}));
    let files =
        json!({"id": "i", "do": "list_files", "spec": spec, "include": ["*"], "page_size": 1});
    require(
        &suite.ask(files, "entry").await,
        json!({"path": "a", "size_bytes": 3, "cached": true}),
    );
    require(&suite.end("i", "answer").await, json!({"count": 1}));

    let missing = suite.ask(json!({"id": "e", "do": "fetch", "spec": "no/such"}), "error").await;
    require(&missing, json!({"reason": "ASSET_NOT_FOUND", "code": "NOT_FOUND"}));
    require(&missing["metadata"], json!({"name": "no/such"}));
    let late = json!({"id": "d", "do": "resolve", "spec": "nlp/ranker", "timeout": 0});
    let expected = json!({"reason": "DEADLINE_EXCEEDED", "code": "DEADLINE_EXCEEDED"});
    require(&suite.ask(late, "error").await, expected);
    for odd in [
        json!({"id": "x", "do": "dance"}),
        json!({"id": "x", "do": "list", "scope": "MOON"}),
        json!({"id": "x", "do": "push", "bump": "UP"}),
    ] {
        require(&suite.ask(odd, "error").await, json!({"reason": "", "code": "UNKNOWN"}));
    }

    suite.ask(json!({"id": "c", "do": "hold", "spec": "nlp/ranker"}), "answer").await;
    suite.say(json!({"do": "cancel", "of": "c"})).await;
    require(&suite.end("c", "error").await, json!({"reason": "CANCELLED", "code": "CANCELLED"}));
    let nothing = json!({"id": "z", "do": "release", "of": "nothing"});
    assert_eq!(suite.ask(nothing, "answer").await, json!({}));
    suite.say(json!({"do": "close"})).await;
    assert_eq!(suite.ended().await, "");
}

#[tokio::test]
async fn it_finds_what_stands_in_assets_dir() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("nlp/ranker/1.2")).unwrap();
    std::fs::write(folder.path().join("nlp/ranker/1.2/.SUCCESS"), "").unwrap();
    let mut suite = Suite::begin_seeing("unix:///nowhere/assetd.sock", folder.path()).await;
    let hold = json!({"id": "h", "do": "hold", "spec": "nlp/ranker:1.2"});
    let expected = json!({"source": "CACHE", "size_bytes": null, "digest": "",
        "path": folder.path().join("nlp/ranker/1.2")});
    require(&suite.ask(hold, "answer").await, expected);
    suite.say(json!({"do": "close"})).await;
    require(&suite.end("h", "error").await, json!({"reason": "CANCELLED"}));
    assert_eq!(suite.ended().await, "");
}

#[tokio::test]
async fn it_ends_with_its_requests() {
    let mut suite = Suite::begin("unix:///nowhere/assetd.sock").await;
    suite.say(json!({"id": "f", "do": "fetch", "spec": "nlp/ranker"})).await;
    suite.requests = None;
    require(&suite.end("f", "error").await, json!({"reason": "CANCELLED"}));
    assert_eq!(suite.ended().await, "");

    let mut suite = Suite::begin("unix:///nowhere/assetd.sock").await;
    suite.write("moths").await;
    assert!(suite.ended().await.contains("moths"));
}

#[tokio::test]
async fn it_fails_when_nobody_hears_it() {
    let suite = Suite::begin("unix:///nowhere/assetd.sock").await;
    let Suite { mut runner, requests, answers } = suite;
    drop(answers);
    let mut requests = requests.unwrap();
    let line = json!({"id": "x", "do": "dance"}).to_string();
    requests.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    drop(requests);
    assert_eq!(runner.wait().await.unwrap().code(), Some(1));
}
