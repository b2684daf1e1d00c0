//! `status`: the configuration of the node, its changes, and the files that were modified since.

use crate::change_run::{follow, run_dir};
use crate::commands::load::load_node;
use crate::commands::print::text_or_json;
use crate::error::CommandError;
use crate::exit::Exit;
use crate::node::LoadedNode;
use crate::options::CommonArgs;
use crate::output::CommandOutput;
use crate::results::source_files::SourceFiles;
use crate::results::status::{Author, MirrorConfiguration, StatusResult};
use crate::{json, render};
use mirrorshift_containerd::Entry;
use mirrorshift_node::{Root, drifted, status};
use mirrorshift_plan::change::Phase;

/// The first line of every hosts.toml that Mirrorshift writes begins with this.
const HEADER: &[u8] = b"# Written by mirrorshift";

pub(super) fn run(common: &CommonArgs, follow: bool) -> Result<CommandOutput, CommandError> {
    if let (true, Some(run)) = (follow, run_dir::latest_run()) {
        return follow::follow(&run, common.output);
    }
    let root = Root::open(&common.root)?;
    // The journal is reported even if the configuration cannot be read.
    let journal = status(&root)?;
    let exit = match journal.phase() {
        Phase::Stuck => Exit::Stuck,
        _ => Exit::Done,
    };
    let (mirrors, config_path, author, sources) = match load_node(common) {
        Ok(loaded) => (
            mirror_configuration(&loaded.node),
            config_path(&loaded.node),
            author(&loaded.node),
            loaded.sources,
        ),
        Err(error) if error.exit == Exit::Usage && common.config.is_some() => return Err(error),
        Err(error) => (
            MirrorConfiguration::Unknown(error.message),
            None,
            None,
            SourceFiles::default(),
        ),
    };
    let result = StatusResult {
        mirrors,
        config_path,
        author,
        drifted: drifted(&root, &journal),
        journal,
        under_way: root.is_live() && run_dir::latest_run().is_some() && follow::runs() == Some(true),
        sources,
    };
    let text = || render::status::text(&result, root.is_live(), common.quiet, common.verbose, common.width);
    let document = || json::status::document(&result);
    Ok(text_or_json(common, exit, text, document))
}

fn mirror_configuration(node: &LoadedNode) -> MirrorConfiguration {
    let config = match &node.outcome {
        Ok(config) => config,
        Err(error) => return MirrorConfiguration::Unknown(format!("containerd does not start with it: {error}")),
    };
    match (!config.registry.mirrors.is_empty(), config_path(node).is_some()) {
        (true, true) => MirrorConfiguration::Both,
        (true, false) => MirrorConfiguration::Legacy,
        (false, true) => MirrorConfiguration::Migrated,
        (false, false) => MirrorConfiguration::Neither,
    }
}

/// Returns `config_path` if the configuration has it. A default of containerd is not reported.
fn config_path(node: &LoadedNode) -> Option<String> {
    let config = node.outcome.as_ref().ok()?;
    let path = config.registry.config_path.as_ref()?;
    (!path.value.is_empty() && path.place.is_some()).then(|| path.value.clone())
}

/// Returns the program that wrote the hosts.toml files, if there are any.
fn author(node: &LoadedNode) -> Option<Author> {
    let mut hosts_files = node
        .tree
        .iter()
        .filter_map(|(path, entry)| match entry {
            Entry::File(contents) if path.ends_with("/hosts.toml") => Some(contents),
            _ => None,
        })
        .peekable();
    hosts_files.peek()?;
    let is_ours = node.status.owned.keys().any(|path| path.ends_with("/hosts.toml"))
        || hosts_files.any(|contents| contents.starts_with(HEADER));
    Some(if is_ours { Author::Mirrorshift } else { Author::Other })
}
