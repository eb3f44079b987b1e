//! Makes the messages and stubs from the descriptors in `proto/assetd.binpb`: neither protoc nor
//! the `.proto` files are needed.
use std::error::Error;

use prost::Message;
use prost_types::FileDescriptorSet;

const DESCRIPTORS: &str = "proto/assetd.binpb";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={DESCRIPTORS}");
    let mut descriptors = FileDescriptorSet::decode(&*std::fs::read(DESCRIPTORS)?)?;
    for location in descriptors
        .file
        .iter_mut()
        .filter_map(|file| file.source_code_info.as_mut())
        .flat_map(|information| &mut information.location)
    {
        location.leading_comments = location.leading_comments.as_deref().map(fence);
    }
    tonic_prost_build::configure().build_server(false).compile_fds(descriptors)?;
    Ok(())
}

/// Returns the comment with a fence around what is indented: rustdoc would take it for a program,
/// and run it.
fn fence(comment: &str) -> String {
    const INDENTED: &str = "     ";
    let mut fenced = String::new();
    let mut is_inside = false;
    for line in comment.lines() {
        let is_indented = line.starts_with(INDENTED);
        if !line.is_empty() && is_indented != is_inside {
            fenced += if is_indented { " ```text\n" } else { " ```\n" };
            is_inside = is_indented;
        }
        fenced += line;
        fenced += "\n";
    }
    if is_inside {
        fenced += " ```\n";
    }
    fenced
}
