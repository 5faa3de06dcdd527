//! The search for secrets in files (R52): for what must be nowhere, neither as it is, nor in
//! hexadecimal, base32, base64 or as numbers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use data_encoding::{BASE32_NOPAD, BASE64, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};

/// The shortest value that is searched for by itself; shorter ones must stand alone.
const ALONE_BELOW: usize = 12;

/// What must be nowhere, by what it is.
#[derive(Default)]
pub struct Secrets(pub Vec<(String, Vec<u8>)>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let named: Vec<&str> = self.0.iter().map(|(what, _)| what.as_str()).collect();
        f.debug_tuple("Secrets").field(&named).finish()
    }
}

impl Secrets {
    /// One more.
    pub fn add(&mut self, what: &str, value: impl AsRef<[u8]>) {
        self.0.push((what.to_owned(), value.as_ref().to_vec()));
    }

    /// Each key of a key file.
    ///
    /// # Panics
    /// If it is none.
    pub fn add_keys(&mut self, text: &str) {
        for line in text.lines() {
            if let Some(secret) = line.strip_prefix("secret = ") {
                let text = secret.trim_matches('"').as_bytes();
                self.add("a key of the key file", BASE64.decode(text).unwrap());
            }
        }
    }
}

/// A value in every form that somebody might have written it in.
#[must_use]
pub fn forms(value: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut numbers = Vec::new();
    for byte in value {
        if *byte >= 0x80 {
            numbers.push(0xcc);
        }
        numbers.push(*byte);
    }
    let mut forms = vec![("as it is", value.to_vec()), ("as numbers", numbers)];
    // What is short is not long enough in another form to be told from chance.
    if value.len() >= ALONE_BELOW {
        for (name, text) in [
            ("in hexadecimal", HEXLOWER.encode(value)),
            ("in hexadecimal capitals", HEXUPPER.encode(value)),
            ("in base32", BASE32_NOPAD.encode(value)),
            ("in base64", BASE64.encode(value)),
            ("in base64 for addresses", BASE64URL_NOPAD.encode(value)),
        ] {
            // The last letters depend on what follows.
            let sure = text.trim_end_matches('=').len() - 2;
            forms.push((name, text.as_bytes()[..sure].to_vec()));
        }
    }
    forms
}

/// Looks for many values at once.
#[derive(Debug)]
pub struct Search {
    needles: BTreeMap<[u8; 2], Vec<(String, Vec<u8>)>>,
    begins: Vec<bool>,
}

impl Search {
    /// A search for each of them in each form.
    ///
    /// # Panics
    /// If a value is too short to be searched for.
    #[must_use]
    pub fn of(secrets: &Secrets) -> Self {
        let mut needles: BTreeMap<[u8; 2], Vec<_>> = BTreeMap::new();
        let mut begins = vec![false; 1 << 16];
        for (what, value) in &secrets.0 {
            for (form, bytes) in forms(value) {
                let start = [bytes[0], bytes[1]];
                begins[usize::from(u16::from_be_bytes(start))] = true;
                let named = format!("{what}, {form}");
                needles.entry(start).or_default().push((named, bytes));
            }
        }
        Self { needles, begins }
    }

    /// What of it is in these bytes.
    #[must_use]
    pub fn find(&self, bytes: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        let word = |at: Option<usize>| {
            at.and_then(|at| bytes.get(at))
                .is_some_and(u8::is_ascii_alphanumeric)
        };
        for at in 0..bytes.len().saturating_sub(1) {
            let start = [bytes[at], bytes[at + 1]];
            if !self.begins[usize::from(u16::from_be_bytes(start))] {
                continue;
            }
            for (what, needle) in &self.needles[&start] {
                let fits = bytes[at..].starts_with(needle);
                // Six digits are in every longer number.
                let part = needle.len() < ALONE_BELOW
                    && (word(at.checked_sub(1)) || word(Some(at + needle.len())));
                if fits && !part {
                    found.push(what.clone());
                }
            }
        }
        found
    }
}

/// Every file below a folder that a node wrote: not its own key files, and not its mail.
///
/// # Panics
/// If one cannot be listed.
#[must_use]
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut folders = vec![folder.to_owned()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "outbox" {
                    folders.push(path);
                }
            } else if !name.starts_with("keys.toml") && !name.ends_with(".pem") {
                files.push(path);
            }
        }
    }
    files
}

/// The bytes that are secret in a PEM private key: what stands in the middle of it.
///
/// # Panics
/// If it is none.
#[must_use]
pub fn private(pem: &str) -> Vec<u8> {
    let begin = pem.find("PRIVATE KEY-----").unwrap() + "PRIVATE KEY-----".len();
    let body = &pem[begin..pem[begin..].find("-----").unwrap() + begin];
    let body: String = body.split_whitespace().collect();
    let der = BASE64.decode(body.as_bytes()).unwrap();
    der[36..68].to_vec()
}
