//! Makes the messages and stubs from the descriptors in `proto/assetd.binpb`: neither protoc nor
//! the `.proto` files are needed.
use std::error::Error;

use prost::Message;
use prost_types::FileDescriptorSet;

const DESCRIPTORS: &str = "proto/assetd.binpb";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={DESCRIPTORS}");
    let descriptors = FileDescriptorSet::decode(&*std::fs::read(DESCRIPTORS)?)?;
    tonic_prost_build::configure().build_server(false).compile_fds(descriptors)?;
    Ok(())
}
