//! What a hit without a call takes, on a thousand versions in turn.
//!
//! Half of them files, half directories, in a new order each round. Needs no daemon. Run it with
//! `--release`; with `--json` it prints one JSON object.
use std::fs;
use std::path::Path;
use std::time::Instant;

use assetd::Client;

const VERSIONS: usize = 1000;
const ROUNDS: usize = 10;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::Builder::new().prefix(".bench-").tempdir_in(".")?;
    let mut specs: Vec<String> =
        (0..VERSIONS).map(|number| put(folder.path(), number)).collect::<Result<_, _>>()?;
    let builder = Client::builder().address("unix:///nowhere/assetd.sock");
    let client = builder.assets_dir(folder.path()).build()?;
    let (mut found, mut held) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        fastrand::shuffle(&mut specs);
        for spec in &specs {
            let began = Instant::now();
            let asset = client.fetch(spec).await?;
            found.push(began.elapsed().as_secs_f64() * 1e6);
            drop(asset);
        }
        fastrand::shuffle(&mut specs);
        for spec in &specs {
            let began = Instant::now();
            let asset = client.hold(spec).await?;
            held.push(began.elapsed().as_secs_f64() * 1e6);
            drop(asset);
        }
    }
    let figures =
        [("without hold", percentiles(&mut found)), ("with hold", percentiles(&mut held))];
    if std::env::args().any(|argument| argument == "--json") {
        let kinds = figures
            .map(|(kind, (p50, p99))| format!("{kind:?}: {{\"p50\": {p50}, \"p99\": {p99}}}"));
        println!("{{{}}}", kinds.join(", "));
    } else {
        for (kind, (p50, p99)) in figures {
            println!("hit without a call, {kind}: p50 {p50:.1} us, p99 {p99:.1} us");
        }
    }
    Ok(())
}

fn percentiles(microseconds: &mut [f64]) -> (f64, f64) {
    microseconds.sort_by(f64::total_cmp);
    let at = |percent: usize| microseconds[microseconds.len() * percent / 100];
    (at(50), at(99))
}

fn put(assets_dir: &Path, number: usize) -> std::io::Result<String> {
    let name = format!("team{}/model{number}", number % 10);
    let folder = assets_dir.join(&name);
    fs::create_dir_all(&folder)?;
    let marker = if number % 2 == 1 {
        fs::write(folder.join("1.2"), "weights")?;
        folder.join(".1.2.SUCCESS")
    } else {
        fs::create_dir(folder.join("1.2"))?;
        folder.join("1.2/.SUCCESS")
    };
    // Not empty, as the daemon's.
    fs::write(marker, r#"{"format": 1}"#)?;
    Ok(format!("{name}:1.2"))
}
