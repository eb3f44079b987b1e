//! The example of the README, which the tests run.

use assetd::{Client, Code};

#[tokio::main]
async fn main() -> assetd::Result<()> {
    let client = Client::connect()?; // ASSETD_ADDRESS
    let model = client.hold("nlp/ranker:0").progress(|p| eprintln!("{} bytes", p.present_bytes));
    match model.await {
        Ok(model) => println!("serving {} from {}", model.version(), model.path().display()),
        Err(error) if error.code() == Code::NotFound => println!("there is none: {error}"),
        Err(error) => return Err(error),
    }
    Ok(())
}
