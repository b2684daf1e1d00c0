//! Files that the daemon does not start with, or that this tool does not read.

use crate::document::load::{LoadError, LoadFault};
use crate::findings::catalogue::{FindingId, Severity};
use crate::findings::{FindingSink, shown};
use crate::rules::Rule;
use crate::toml::dialect::{AcceptedBy, SyntaxError};
use crate::tree::Tree;
use crate::version::Version;

const STOPS: &str = "containerd does not start.";

pub(super) fn find(error: &LoadError, tree: &Tree, version: &Version, found: &mut FindingSink) {
    let place = Some(error.place.clone());
    let (id, what, effect, remedy) = match &error.fault {
        LoadFault::Syntax(syntax) => return of_syntax(error, syntax, tree, version, found),
        LoadFault::Unusable(why) => (
            FindingId::FileUnreadable,
            format!("The file cannot be read: {why}."),
            "containerd does not start on what it cannot read; this tool reads nothing but plain files of a sane size.",
            "Put a regular file in its place, or take its import out.".to_owned(),
        ),
        LoadFault::MissingImport(path) => (
            FindingId::MissingImport,
            format!("`imports` names `{path}`, which does not exist."),
            "containerd does not start: `no such file or directory`. On 2.x `config dump` shrugs at it all the same.",
            "Create the file or take it out of `imports`; a glob such as `conf.d/*.toml` may match nothing.".to_owned(),
        ),
        LoadFault::WrongType { key, expected, found } => (
            FindingId::WrongType,
            format!("`{}` is {found}, and must be {expected}.", shown::url(key)),
            STOPS,
            mend_type(key, expected),
        ),
        LoadFault::UnknownSchema(schema) => (
            FindingId::UnknownSchema,
            format!("`version = {schema}` is higher than this containerd knows."),
            STOPS,
            "Write the file in a version that this containerd knows, or upgrade containerd first.".to_owned(),
        ),
        LoadFault::NewerDropIn { drop_in, root } => (
            FindingId::NewerDropIn,
            format!(
                "The drop-in says `version = {drop_in}`, and the root file {}.",
                said(*root)
            ),
            "containerd 2.3.0 to 2.3.4 do not start on a drop-in that is newer than its root.",
            "Bring the root file to the drop-in's version with `containerd config migrate`, or upgrade to 2.3.5."
                .to_owned(),
        ),
        LoadFault::PluginKey(key) => (
            FindingId::PluginKey,
            format!("`{}` is no plugin key of a file with `version = 2`.", shown::url(key)),
            "containerd 1.x does not start: it wants keys of the form `io.containerd.x.vx`.",
            "Write the plugin's whole name in quotes, such as `plugins.\"io.containerd.grpc.v1.cri\"`.".to_owned(),
        ),
        LoadFault::TooManyFiles => (
            FindingId::TooManyFiles,
            "More files are imported than any node has.".to_owned(),
            "This tool stops reading; containerd would go on.",
            "Look at what the globs in `imports` match.".to_owned(),
        ),
    };
    found.add(id, place, what, effect, remedy);
}

fn said(schema: i64) -> String {
    match schema {
        0 => "says none".to_owned(),
        schema => format!("`version = {schema}`"),
    }
}

fn mend_type(key: &str, expected: &str) -> String {
    if key.starts_with("mirrors.") {
        "Write it as a table: `[….registry.mirrors.\"host\"]` with `endpoint = [\"https://…\"]` below.".to_owned()
    } else if key.starts_with("auths.") {
        "Write it below the registry that it is for: `[….registry.auths.\"https://host\"]`.".to_owned()
    } else if key == "endpoint" {
        "Write a list: `endpoint = [\"https://…\"]`.".to_owned()
    } else {
        format!("Write `{}` as {expected}.", shown::url(key))
    }
}

/// Text that some containerd reads is no reason for that containerd not to start; it is one for this tool not to edit.
fn of_syntax(error: &LoadError, syntax: &SyntaxError, tree: &Tree, version: &Version, found: &mut FindingSink) {
    let marked = tree
        .file(&error.place.path)
        .is_some_and(|bytes| bytes.starts_with("\u{feff}".as_bytes()));
    let one = version.has(Rule::GoTomlOne);
    let id = match syntax.taken_by {
        // Only 2.x complains of the mark, and of nothing else that comes before it.
        AcceptedBy::V1Only if marked && !one => FindingId::ByteOrderMark,
        AcceptedBy::NoRelease => FindingId::TomlSyntax,
        AcceptedBy::V1Only | AcceptedBy::V2Only | AcceptedBy::SomeReleases => FindingId::TomlDialect,
    };
    let (severity, effect) = match (syntax.taken_by, one) {
        (AcceptedBy::NoRelease, _) => (Severity::Refuses, STOPS),
        (AcceptedBy::SomeReleases, _) => (
            Severity::Refuses,
            "Some releases start with it and others do not; this tool edits no file that releases read differently.",
        ),
        (AcceptedBy::V1Only, true) => (
            Severity::Deprecated,
            "containerd 1.x starts with it and 2.x does not; this tool edits no file that releases read differently.",
        ),
        (AcceptedBy::V1Only, false) => (Severity::Refuses, "containerd 2.x does not start; 1.x did."),
        (AcceptedBy::V2Only, true) => (Severity::Refuses, "containerd 1.x does not start; 2.x does."),
        (AcceptedBy::V2Only, false) => (
            Severity::Advice,
            "containerd 2.x starts with it and 1.x does not; this tool edits no file that releases read differently.",
        ),
    };
    let remedy = match &syntax.remedy {
        Some(remedy) => remedy.clone(),
        None => format!("Mend line {}, column {}.", syntax.line, syntax.column),
    };
    let message = syntax.message.lines().collect::<Vec<_>>().join("; ");
    let what = format!("The file is not TOML to every containerd: {message}.");
    let what = if syntax.taken_by == AcceptedBy::NoRelease {
        format!("The file is not TOML: {message}.")
    } else {
        what
    };
    found.add_as(severity, id, Some(error.place.clone()), what, effect, remedy);
}
