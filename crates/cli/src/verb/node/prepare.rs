//! `node prepare`: the folder that a node on a new machine is started from. It works where the
//! founding folder is, and asks no node; registering the node is another step, `node add`.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use credential::authority::{Issued, Validity};
use domain::NodeId;
use domain::id::PLACES;

use crate::args::node::Prepare;
use crate::exit::{Failure, file_failure};
use crate::founding::{PlannedNode, configuration, create};
use crate::output::Output;
use crate::profile::Profile;
use crate::verb::certificate;
use crate::verb::init::now;

const DAY_MS: u64 = 86_400_000;
/// By how much clocks of machines may differ.
const LEEWAY_MS: u64 = 3_600_000;
/// What is the same in the folder of every node, and whether nobody but its owner reads it.
const SAME: [(&str, bool); 7] = [
    ("founding.json", false),
    ("keys.toml", true),
    ("anchors/front.pem", false),
    ("anchors/back.pem", false),
    ("anchors/operator.pem", false),
    ("anchors/peer.pem", false),
    ("anchors/cards.pem", false),
];

fn read(path: &Path) -> Result<zeroize::Zeroizing<String>, Failure> {
    fs::read_to_string(path)
        .map(zeroize::Zeroizing::new)
        .map_err(|error| file_failure("read", path, &error))
}

/// The four listeners, one port after the other.
fn listen(host: IpAddr, first: u16) -> Result<[SocketAddr; 4], Failure> {
    let port = |offset: u16| {
        let port = first.checked_add(offset);
        let port = port.ok_or_else(|| Failure::usage("the ports do not fit: lower --port"))?;
        Ok::<_, Failure>(SocketAddr::new(host, port))
    };
    Ok([port(0)?, port(1)?, port(2)?, port(3)?])
}

/// Writes the folder.
///
/// # Errors
/// What went wrong, with its exit code.
pub(super) fn run(flags: &Prepare, output: Output) -> Result<(), Failure> {
    if !(1..PLACES).contains(&flags.node) {
        let last = PLACES - 1;
        return Err(Failure::usage(format!(
            "a node's number is from 1 to {last}"
        )));
    }
    let profile = Profile::read(&flags.dir.join("profile.toml"))?;
    let folder = flags.dir.join(format!("nodes/{}", flags.node));
    if folder.exists() {
        return Err(Failure::pre_check(format!("{} is there", folder.display()))
            .next("name a number that no node has or had"));
    }
    let like = profile.nodes().first();
    let like = like.ok_or_else(|| Failure::pre_check("the profile names no node"))?;
    let like = flags.dir.join(format!("nodes/{}", like.id));
    let authority = certificate::authority(&flags.dir, "peer")?;
    let now = now()?;
    let validity = Validity {
        not_before: now.minus(LEEWAY_MS),
        not_after: now.plus(u64::from(flags.days).saturating_mul(DAY_MS)),
    };
    let node = PlannedNode {
        id: NodeId(flags.node),
        centre: flags.centre.clone(),
        listen: listen(flags.host, flags.port)?,
        health: None,
        metrics: None,
    };
    let peer_name = server::node::peer_name(node.id);
    let issued = authority
        .issue_node(
            profile.cluster(),
            node.id,
            &[&profile.file().server_name, &peer_name],
            &[flags.host],
            validity,
        )
        .map_err(certificate::not_made)?;
    let written = fill(&folder, &like, &node, &issued);
    if written.is_err() {
        // What was begun holds a key, and would be in the way of the next try.
        let _gone = fs::remove_dir_all(&folder);
    }
    written?;
    let document = serde_json::json!({
        "node": flags.node, "folder": folder, "peer_address": node.listen[3].to_string(),
    });
    output.data(&document, || {
        let (folder, centre) = (folder.display(), &flags.centre);
        format!(
            "{folder}\n\
             bring it to its machine and start it:  tidemark serve --config {folder}/node.toml\n\
             register it with two operators:  tidemark node add {} --centre {centre} --address {} --reason TEXT\n\
             name it in profile.toml",
            flags.node, node.listen[3],
        )
    })
}

/// Writes what the node needs: its own, and what is the same in the folder of another one.
fn fill(folder: &Path, like: &Path, node: &PlannedNode, issued: &Issued) -> Result<(), Failure> {
    for (name, is_secret) in SAME {
        let mode = if is_secret { 0o600 } else { 0o644 };
        create(&folder.join(name), &read(&like.join(name))?, mode)?;
    }
    // What a restored cluster begins with.
    let base = like.join(consensus::base::FILE);
    if base.exists() {
        let copy = folder.join(consensus::base::FILE);
        fs::copy(&base, &copy).map_err(|error| file_failure("write", &copy, &error))?;
    }
    create(&folder.join("node.pem"), &issued.certificate_pem, 0o644)?;
    create(&folder.join("node.key"), &issued.key_pem, 0o600)?;
    create(&folder.join("node.toml"), &configuration(node), 0o644)?;
    Ok(())
}
