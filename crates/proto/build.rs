//! Compiles everything under `/proto` with protox (no `protoc` to install) and
//! generates the gRPC types from it.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use prost_types::{DescriptorProto, FileDescriptorSet};

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
    let kept = Kept::of(&compiler.file_descriptor_set());
    fs::write(out.join("kept.rs"), kept.debug)?;
    tonic_prost_build::configure()
        .include_file("modules.rs")
        .skip_debug(kept.paths)
        // Raft payloads are large; they are taken out of the receive buffer, not copied.
        .bytes(".tidemark.peer")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

/// Fields that hold what only the person and the service know, or what draws it.
const SECRETS: [&str; 13] = [
    "access_token",
    "activation_code",
    "card_password",
    "card_verifier",
    "code",
    "current_password",
    "new_password",
    "otpauth_uri",
    "password",
    "qr_code_svg",
    "second_half",
    "secret_base32",
    "verifier",
];

/// Messages that hold a secret: they are never printed with what they hold (R52).
#[derive(Default)]
struct Kept {
    /// Their paths, and those of their choices.
    paths: Vec<String>,
    /// A `Debug` for each, that tells its name alone.
    debug: String,
}

impl Kept {
    fn of(files: &FileDescriptorSet) -> Self {
        let mut kept = Self::default();
        for file in &files.file {
            if file.package().starts_with("tidemark.") {
                for message in &file.message_type {
                    kept.message(file.package(), message);
                }
            }
        }
        kept
    }

    fn message(&mut self, package: &str, message: &DescriptorProto) {
        let secrets = || {
            message
                .field
                .iter()
                .filter(|field| SECRETS.contains(&field.name()))
        };
        if secrets().next().is_none() {
            return;
        }
        let name = message.name();
        let module = package.trim_start_matches("tidemark.").replace('.', "::");
        self.keep(
            format!(".{package}.{name}"),
            &format!("{module}::{name}"),
            name,
        );
        let choices: BTreeSet<i32> = secrets().filter_map(|field| field.oneof_index).collect();
        let named = (0..).zip(&message.oneof_decl);
        for (_, choice) in named.filter(|(index, _)| choices.contains(index)) {
            let (inner, kind) = (snake(name), camel(choice.name()));
            let path = format!(".{package}.{name}.{}", choice.name());
            self.keep(path, &format!("{module}::{inner}::{kind}"), &kind);
        }
    }

    fn keep(&mut self, path: String, rust: &str, name: &str) {
        self.paths.push(path);
        self.debug.push_str(&format!(
            "impl std::fmt::Debug for {rust} {{ fn fmt(&self, f: &mut std::fmt::Formatter<'_>) \
             -> std::fmt::Result {{ f.write_str(\"{name} {{ .. }}\") }} }}\n"
        ));
    }
}

/// `VerifyFactorRequest` as a module's name.
fn snake(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

/// `second_factor` as a type's name.
fn camel(name: &str) -> String {
    let words = name.split('_').map(|word| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_uppercase() + rest
    });
    words.collect()
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
