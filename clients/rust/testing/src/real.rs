//! assetd itself, in a process of its own, with an empty store of its own.
use std::env;
use std::io::{Write, stderr};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// The daemon of this repository. It ends when it is dropped.
pub struct RealDaemon {
    /// What clients dial.
    pub address: String,
    /// Where its versions stand.
    pub assets_dir: PathBuf,
    folder: TempDir,
    process: Child,
}

impl RealDaemon {
    /// Starts one. None where it is not set up: the test is skipped, by its name; where tests may
    /// not be skipped, under `CI=true`, it fails.
    pub async fn start() -> Option<Self> {
        if !python().exists() {
            let test = std::thread::current().name().unwrap_or_default().to_owned();
            assert!(env::var("CI").as_deref() != Ok("true"), "{test}: the daemon is not set up");
            // Past what the test harness captures.
            let _ = writeln!(stderr(), "skipped: {test}: make setup sets the daemon up");
            return None;
        }
        // Short: a socket's path has at most 107 bytes.
        let folder = tempfile::Builder::new().prefix("assetd-rs-").tempdir().unwrap();
        let assets_dir = folder.path().join("assets");
        for made in [&assets_dir, &folder.path().join("store")] {
            std::fs::create_dir(made).unwrap();
        }
        let address = format!("unix://{}/assetd.sock", folder.path().display());
        let process = spawn(folder.path(), &address).await;
        Some(Self { address, assets_dir, folder, process })
    }

    /// Has it drain and end, and starts another one at the same place.
    pub async fn restart(&mut self) {
        let id = self.process.id().expect("it is running").to_string();
        Command::new("kill").arg(id).status().await.unwrap();
        let ended = self.process.wait().await.unwrap();
        assert!(ended.success(), "the daemon ended with {ended}");
        self.process = spawn(self.folder.path(), &self.address).await;
    }
}

fn python() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../.venv/bin/python")
}

/// Returns once the daemon has said that it serves.
async fn spawn(folder: &Path, address: &str) -> Child {
    let mut process = Command::new(python())
        .args(["-m", "assetd_server"])
        .env_clear()
        .env("PATH", env::var_os("PATH").unwrap_or_default())
        .env("ASSETS_DIR", folder.join("assets"))
        .env("ASSETD_STORE", format!("file://{}", folder.join("store").display()))
        .env("ASSETD_LISTEN", address)
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(folder.join("log")).unwrap())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let output = process.stdout.take().expect("it is piped");
    let said = BufReader::new(output).lines().next_line().await.unwrap();
    let log = || std::fs::read_to_string(folder.join("log")).unwrap_or_default();
    assert!(said.is_some(), "it does not serve: {}", log());
    process
}
