//! Makes the server's side of the stubs, which the client itself does not carry.
use std::error::Error;

use prost::Message;
use prost_types::FileDescriptorSet;

const DESCRIPTORS: &str = "../proto/assetd.binpb";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={DESCRIPTORS}");
    let descriptors = FileDescriptorSet::decode(&*std::fs::read(DESCRIPTORS)?)?;
    tonic_prost_build::configure()
        .build_client(false)
        .extern_path(".assetd.v1", "::assetd::v1")
        .compile_fds(descriptors)?;
    Ok(())
}
