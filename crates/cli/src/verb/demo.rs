//! `demo`: six nodes in this process, on real sockets and disks, and a drill played against them
//! by the same code as `drill run`.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use domain::{CentreName, NodeId};
use server::node::Node;

use super::{drill as verb, init, serve};
use crate::args::cluster::Demo;
use crate::drill::{self, Drill, Report};
use crate::exit::{Failure, file_failure};
use crate::founding::{self, Plan, PlannedNode};
use crate::output::Output;
use crate::profile::Profile;

/// Nodes in each centre.
const NODES: usize = 3;

/// Founds six nodes, plays the drill, and writes the report.
///
/// # Errors
/// What went wrong, with its exit code; 7 if a proof failed.
pub async fn run(flags: &Demo, output: Output) -> Result<(), Failure> {
    let temporary = match &flags.data_dir {
        Some(_) => None,
        None => Some(
            tempfile::Builder::new()
                .prefix("tidemark-")
                .tempdir()
                .map_err(|error| Failure::internal(format!("no temporary folder: {error}")))?,
        ),
    };
    let folder = match (&flags.data_dir, &temporary) {
        (Some(folder), _) => folder.clone(),
        (None, Some(temporary)) => temporary.path().to_path_buf(),
        (None, None) => return Err(Failure::internal("there is no folder")),
    };
    let drill = Drill::read(&flags.drill)?;
    let plan = plan(&drill, &flags.drill)?;
    founding::found(&plan, &folder)?;
    output.talk(&format!("six nodes in {}", folder.display()));
    let mut nodes = Vec::new();
    let played = match start_all(&plan, &folder, &mut nodes).await {
        Ok(()) => Box::pin(play(flags, &folder, output)).await,
        Err(failure) => Err(failure),
    };
    if flags.keep && played.is_ok() {
        output.talk(&how_to_go_on(&plan, &drill, &folder));
        serve::stopped().await?;
    }
    for node in nodes {
        node.stop().await;
    }
    if flags.keep
        && let Some(temporary) = temporary
    {
        output.talk(&format!("kept: {}", temporary.keep().display()));
    }
    verb::finish(&played?, flags.report.as_deref(), output)
}

async fn start_all(plan: &Plan, folder: &Path, nodes: &mut Vec<Node>) -> Result<(), Failure> {
    for node in &plan.nodes {
        let config = folder.join(format!("nodes/{}/node.toml", node.id));
        nodes.push(serve::start(&config).await?);
    }
    Ok(())
}

async fn play(flags: &Demo, folder: &Path, output: Output) -> Result<Report, Failure> {
    let profile = Profile::read(&folder.join("profile.toml"))?;
    let setting = verb::setting(profile, &flags.drill)?;
    drill::play(&flags.drill, setting, output).await
}

fn plan(drill: &Drill, file: &Path) -> Result<Plan, Failure> {
    let name =
        |text: &str| CentreName::parse(text).map_err(|error| Failure::internal(error.to_string()));
    let beside = file.parent().unwrap_or_else(|| Path::new(""));
    let (primary, secondary) = (name("east")?, name("west")?);
    let mut nodes = Vec::new();
    // All are held until all are known: no two nodes get one address.
    let mut held = Vec::new();
    for index in 0..2 * NODES {
        let mut free = || -> Result<SocketAddr, Failure> {
            let failed = |error: std::io::Error| {
                file_failure("listen on", &PathBuf::from("127.0.0.1"), &error)
            };
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
            let address = listener.local_addr().map_err(failed)?;
            held.push(listener);
            Ok(address)
        };
        nodes.push(PlannedNode {
            id: NodeId(u64::try_from(index + 1).unwrap_or(u64::MAX)),
            centre: if index < NODES {
                primary.clone()
            } else {
                secondary.clone()
            },
            listen: [free()?, free()?, free()?, free()?],
            health: None,
            metrics: None,
        });
    }
    drop(held);
    let parsed = |error: domain::id::Malformed| Failure::internal(error.to_string());
    Ok(Plan {
        title: "demo".to_owned(),
        primary,
        secondary: Some(secondary),
        nodes,
        server_name: "www.ccass.com".to_owned(),
        operators: vec![
            "alice".parse().map_err(parsed)?,
            "bob".parse().map_err(parsed)?,
        ],
        front_ends: vec!["web-1".parse().map_err(parsed)?],
        back_ends: vec!["ccms-1".parse().map_err(parsed)?],
        // The drill sets the timetable itself.
        calendar: init::calendar(None, Some(&beside.join(&drill.data.holidays)))?,
        now: init::now()?,
        simulated: Some(drill.begins.0),
    })
}

/// Addresses, certificates, logins, and the commands to go on with.
fn how_to_go_on(plan: &Plan, drill: &Drill, folder: &Path) -> String {
    let profile = folder.join("profile.toml");
    let mut text = format!(
        "\nthe cluster stays up until you press Ctrl-C\n  profile       {}\n  certificates  {}",
        profile.display(),
        folder.display()
    );
    for node in &plan.nodes {
        let [front, back, operator, _] = node.listen;
        text.push_str(&format!(
            "\n  node {} {}   front {front}, back {back}, operator {operator}",
            node.id, node.centre
        ));
    }
    for person in &drill.person {
        let passwords: Vec<String> = person
            .passwords
            .iter()
            .map(|(name, password)| format!("{name} \"{password}\""))
            .collect();
        text.push_str(&format!(
            "\n  login {}: {}",
            person.account,
            passwords.join(", ")
        ));
    }
    text.push_str(&format!(
        "\ngo on with:\n  export TIDEMARK_PROFILE={}\n  tidemark status\n  \
         tidemark calendar show\n  tidemark session report {}\n  tidemark audit verify --all-nodes",
        profile.display(),
        drill.second_session
    ));
    text
}
