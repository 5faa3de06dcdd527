//! `key list`: what a key file holds, without its secrets. No node is asked.

use credential::keyring::Keyring;
use zeroize::Zeroizing;

use crate::args::key::{Key, List};
use crate::exit::{Failure, file_failure};
use crate::output::{Output, Table};

/// Lists.
///
/// # Errors
/// When the file cannot be read, or is no key file.
pub fn run(flags: &Key, output: Output) -> Result<(), Failure> {
    match flags {
        Key::List(flags) => list(flags, output),
    }
}

fn list(flags: &List, output: Output) -> Result<(), Failure> {
    let path = &flags.file;
    let text = std::fs::read_to_string(path).map_err(|error| file_failure("read", path, &error))?;
    let keyring = Keyring::parse(&Zeroizing::new(text))
        .map_err(|wrong| Failure::pre_check(format!("{}: {wrong}", path.display())))?;
    let rows: Vec<_> = keyring
        .keys()
        .map(|(id, purpose, created)| {
            let mut public = keyring.checkpoint_keys();
            let public = public.find(|(key, _)| *key == id);
            let public = public.map(|(_, key)| key.to_string());
            (id, purpose, created.to_string(), public)
        })
        .collect();
    let documents: Vec<_> = rows
        .iter()
        .map(|(id, purpose, created, public)| {
            serde_json::json!({
                "id": id, "purpose": purpose, "created": created, "checkpoint_key": public,
            })
        })
        .collect();
    output.data(&serde_json::json!({ "keys": documents }), || {
        let mut table = Table::new(&["KEY", "PURPOSE", "CREATED", "CHECKPOINTS ARE BELIEVED BY"]);
        for (id, purpose, created, public) in &rows {
            table.row([
                id.to_string(),
                format!("{purpose:?}").to_lowercase(),
                created.clone(),
                public.clone().unwrap_or_else(|| "-".to_owned()),
            ]);
        }
        table.text()
    })
}
