//! Compiles everything under `/proto` with protox (no `protoc` to install) and
//! generates the gRPC types from it.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo:rerun-if-changed={}", root.display());

    let mut sources = Vec::new();
    collect(&root, &mut sources)?;
    // The order of a directory listing differs between machines.
    sources.sort();

    let mut compiler = protox::Compiler::new([&root])?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(sources.iter().map(PathBuf::as_path))?;

    let out = PathBuf::from(env::var("OUT_DIR")?);
    // Encoded by protox and not by prost: prost would drop our method options.
    fs::write(
        out.join("descriptors.bin"),
        compiler.encode_file_descriptor_set(),
    )?;
    tonic_prost_build::configure()
        .include_file("modules.rs")
        // Raft payloads are large; they are taken out of the receive buffer, not copied.
        .bytes(".tidemark.peer")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

/// Lists every `.proto` below `folder`, and has cargo watch each folder.
fn collect(folder: &Path, sources: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={}", folder.display());
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, sources)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "proto")
        {
            println!("cargo:rerun-if-changed={}", path.display());
            sources.push(path);
        }
    }
    Ok(())
}
