//! What is in the package, and in its documentation.
use std::fs;
use std::path::Path;
use std::process::Command;

const HERE: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn the_package_holds_what_it_is_built_from() {
    let mut cargo = Command::new(env!("CARGO"));
    let list = ["package", "--list", "--allow-dirty", "--package", "assetd"];
    let output = cargo.args(list).current_dir(HERE).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let listed = String::from_utf8(output.stdout).unwrap();
    for file in ["proto/assetd.binpb", "build.rs", "src/lib.rs", "README.md"] {
        assert!(listed.lines().any(|line| line == file), "{file} is not in:\n{listed}");
    }
    for folder in ["tests/", "testing/", "conformance/", "target/"] {
        assert!(!listed.lines().any(|line| line.starts_with(folder)), "{folder} is in:\n{listed}");
    }
}

#[test]
fn the_lock_is_cargos_own_without_addresses() {
    let read = |name: &str| fs::read_to_string(Path::new(HERE).join(name)).unwrap();
    let lock = read("Cargo.lock");
    let without: Vec<&str> = lock.lines().filter(|line| !line.starts_with("source = ")).collect();
    let committed = read("packages.lock");
    assert_eq!(committed.lines().collect::<Vec<_>>(), without, "make rust-lock, or restore it");
    assert!(!committed.contains("://") && committed.contains("checksum = "));
}

#[test]
fn the_example_of_the_readme_is_the_one_that_runs() {
    let readme = fs::read_to_string(Path::new(HERE).join("README.md")).unwrap();
    let example = fs::read_to_string(Path::new(HERE).join("examples/serve.rs")).unwrap();
    let (_comment, code) = example.split_once("\n\n").unwrap();
    assert!(readme.contains(&format!("```rust,no_run\n{code}```\n")), "they differ:\n{code}");
    assert!(code.lines().count() <= 15, "it is to be read at a glance");
}
