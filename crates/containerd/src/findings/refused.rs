//! Findings about files that keep the daemon from starting, or that Mirrorshift does not read.

use crate::document::load::{LoadError, LoadFault};
use crate::findings::catalogue::{FindingId, Severity};
use crate::findings::finding::FindingSink;
use crate::redact::written_url;
use crate::rules::Rule;
use crate::toml::dialect::{AcceptedBy, SyntaxError};
use crate::tree::Tree;
use crate::version::Version;

const STOPS: &str = "containerd does not start.";

pub(super) fn find(error: &LoadError, tree: &Tree, version: &Version, found: &mut FindingSink) {
    let place = Some(error.place.clone());
    let (id, what, effect, remedy) = match &error.fault {
        LoadFault::Syntax(syntax) => return syntax_error(error, syntax, tree, version, found),
        LoadFault::Unusable(why) => (
            FindingId::FileUnreadable,
            format!("The file cannot be read: {why}."),
            "containerd does not start if it cannot read the file; Mirrorshift reads only regular files up to a size limit.",
            "Replace it with a regular file, or remove its import.".to_owned(),
        ),
        LoadFault::MissingImport(path) => (
            FindingId::MissingImport,
            format!("`imports` names `{path}`, which does not exist."),
            "containerd does not start: `no such file or directory`. On 2.x `config dump` reports success nevertheless.",
            "Create the file, or remove it from `imports`; a glob such as `conf.d/*.toml` may match nothing."
                .to_owned(),
        ),
        LoadFault::WrongType { key, expected, found } => (
            FindingId::WrongType,
            format!("`{}` is {found}, and must be {expected}.", written_url(key)),
            STOPS,
            type_remedy(key, expected),
        ),
        LoadFault::UnknownSchema(schema) => (
            FindingId::UnknownSchema,
            format!("`version = {schema}` is higher than this containerd supports."),
            STOPS,
            "Write the file in a version that this containerd supports, or upgrade containerd first.".to_owned(),
        ),
        LoadFault::NewerDropIn { drop_in, root } => (
            FindingId::NewerDropIn,
            format!(
                "The drop-in has `version = {drop_in}`, and the root file has {}.",
                schema_text(*root)
            ),
            "containerd 2.3.0 to 2.3.4 do not start with a drop-in whose version is higher than the root file's.",
            "Convert the root file to the drop-in's version with `containerd config migrate`, or upgrade to 2.3.5."
                .to_owned(),
        ),
        LoadFault::PluginKey(key) => (
            FindingId::PluginKey,
            format!(
                "`{}` is not a valid plugin key in a file with `version = 2`.",
                written_url(key)
            ),
            "containerd 1.x does not start: it requires keys of the form `io.containerd.x.vx`.",
            "Write the plugin's full name in quotes, such as `plugins.\"io.containerd.grpc.v1.cri\"`.".to_owned(),
        ),
        LoadFault::TooManyFiles => (
            FindingId::TooManyFiles,
            "The configuration imports more than 1,000 files.".to_owned(),
            "Mirrorshift stops reading; containerd has no such limit.",
            "Check which files the globs in `imports` match.".to_owned(),
        ),
    };
    found.add(id, place, what, effect, remedy);
}

fn schema_text(schema: i64) -> String {
    match schema {
        0 => "none".to_owned(),
        schema => format!("`version = {schema}`"),
    }
}

fn type_remedy(key: &str, expected: &str) -> String {
    if key.starts_with("mirrors.") {
        "Write it as a table: `[….registry.mirrors.\"host\"]` with `endpoint = [\"https://…\"]` under it.".to_owned()
    } else if key.starts_with("auths.") {
        "Write it in the table of its registry: `[….registry.auths.\"https://host\"]`.".to_owned()
    } else if key == "endpoint" {
        "Write a list: `endpoint = [\"https://…\"]`.".to_owned()
    } else {
        format!("Write `{}` as {expected}.", written_url(key))
    }
}

/// Reports a syntax error. A file that only some releases accept does not stop those releases, but Mirrorshift does not
/// edit it.
fn syntax_error(error: &LoadError, syntax: &SyntaxError, tree: &Tree, version: &Version, found: &mut FindingSink) {
    let marked = tree
        .file(&error.place.path)
        .is_some_and(|bytes| bytes.starts_with("\u{feff}".as_bytes()));
    let is_v1 = version.has(Rule::GoTomlOne);
    let id = match syntax.accepted_by {
        // 2.x rejects the mark before it reads anything else.
        AcceptedBy::V1Only if marked && !is_v1 => FindingId::ByteOrderMark,
        AcceptedBy::NoRelease => FindingId::TomlSyntax,
        AcceptedBy::V1Only | AcceptedBy::V2Only | AcceptedBy::SomeReleases => FindingId::TomlDialect,
    };
    let (severity, effect) = match (syntax.accepted_by, is_v1) {
        (AcceptedBy::NoRelease, _) => (Severity::Refuses, STOPS),
        (AcceptedBy::SomeReleases, _) => (
            Severity::Refuses,
            "Some releases start with it and others do not. Mirrorshift does not edit a file that releases read differently.",
        ),
        (AcceptedBy::V1Only, true) => (
            Severity::Deprecated,
            "containerd 1.x starts with it and 2.x does not. Mirrorshift does not edit a file that releases read differently.",
        ),
        (AcceptedBy::V1Only, false) => (Severity::Refuses, "containerd 2.x does not start; 1.x did."),
        (AcceptedBy::V2Only, true) => (Severity::Refuses, "containerd 1.x does not start; 2.x does."),
        (AcceptedBy::V2Only, false) => (
            Severity::Advice,
            "containerd 2.x starts with it and 1.x does not. Mirrorshift does not edit a file that releases read differently.",
        ),
    };
    let remedy = match &syntax.remedy {
        Some(remedy) => remedy.clone(),
        None => format!(
            "Edit line {}, column {}, so that the file is valid TOML 1.0, then run `mirrorshift check` again.",
            syntax.line, syntax.column
        ),
    };
    let message = syntax.message.lines().collect::<Vec<_>>().join("; ");
    let what = format!("Not every containerd accepts the file as TOML: {message}.");
    let what = if syntax.accepted_by == AcceptedBy::NoRelease {
        format!("The file is not valid TOML: {message}.")
    } else {
        what
    };
    found.add_as(severity, id, Some(error.place.clone()), what, effect, remedy);
}
