//! Checks that the cases cover every feature, and that each case is valid.

use std::collections::BTreeSet;

use mirrorshift_plan::RefusalReason;

use crate::case::{Case, Differs, LINES, ODD};

/// The minimum number of cases that are compared on each of [`LINES`].
const LEAST: usize = 60;
/// The minimum number of cases that are compared on each of [`ODD`].
const LEAST_ODD: usize = 12;

/// The values of `covers`; each must occur in a case.
pub(crate) const FEATURES: &[&str] = &[
    "docker.io by each of its names",
    "only a wildcard",
    "wildcard with named registries",
    "wildcard with an empty list",
    "wildcard's own host",
    "wildcard with several endpoints",
    "registry on the node",
    "only a named mirror",
    "upstream first",
    "upstream in the middle",
    "upstream last",
    "registry-1 listed",
    "docker.io listed as a host",
    "self-mirror",
    "endpoint without scheme",
    "endpoint with port",
    "endpoint by address",
    "endpoint on localhost",
    "endpoint with a Harbor path",
    "endpoint with a path outside /v2",
    "endpoint with /v2",
    "endpoint with a trailing slash",
    "endpoint with a lone slash",
    "endpoint in upper case",
    "endpoint twice",
    "endpoint that is not a URL",
    "endpoint with a user",
    "endpoint with a query",
    "endpoint of another scheme",
    "key with port",
    "key that never matches",
    "private CA of a mirror",
    "private CA of an upstream",
    "private CA with a wildcard",
    "client certificate",
    "bad certificate file",
    "skip_verify",
    "skip_verify on plain HTTP",
    "TLS settings of registry-1",
    "basic auth of a mirror",
    "token auth of a mirror",
    "identity token of a mirror",
    "auth of Docker Hub",
    "auths by URL",
    "pull secret",
    "pull secret for one server",
    "auth with config_path",
    "headers",
    "drop-in by glob",
    "drop-in by relative path",
    "order of imports",
    "schema 1",
    "schema 2",
    "schema 3",
    "schema 4",
    "no schema",
    "new names in an old schema",
    "inactive settings",
    "stale certs.d",
    "stale _default",
    "stale host_port_ folder",
    "stale folder of certificates",
    "both settings",
    "mirror that is down",
    "slow mirror",
    "mirror that hangs",
    "404",
    "401",
    "403",
    "429",
    "500",
    "503",
    "404 from every host",
    "list in config_path",
    "certs.d in force",
    "broken hosts.toml",
    "pull by digest",
    "pull by tag",
    "policy of caches",
    "policy: wildcard for some",
    "policy: wildcard dropped",
    "policy: tags upstream",
    "policy: no fallback",
    "policy: no mirrors",
    "policy: mirror added",
    "image with a port",
    "registry by address",
    "nested repository",
    "comments",
    "CRLF",
    "tabs",
    "TOML in another notation",
    "keys in another case",
    "unknown keys",
    "byte order mark",
    "refused",
];

/// Checks that every case can be read, covers known features, and has a possible result of planning.
pub(crate) fn sound(cases: &[Case], wrong: &[Case]) -> Result<(), String> {
    let mut covered = BTreeSet::new();
    for case in cases {
        let unknown = case.covers.iter().find(|word| !FEATURES.contains(&word.as_str()));
        if let Some(word) = unknown {
            return Err(format!("{}: there is no feature `{word}`", case.name));
        }
        covered.extend(case.covers.iter().map(String::as_str));
    }
    for case in cases.iter().chain(wrong) {
        readable(case)?;
    }
    if let Some(case) = wrong.iter().find(|case| !matches!(case.files("after"), Ok(Some(_)))) {
        return Err(format!("{}: no folder `after` with the mistake", case.name));
    }
    let missing: Vec<_> = FEATURES.iter().filter(|word| !covered.contains(**word)).collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(format!("no case covers {missing:?}"))
    }
}

fn readable(case: &Case) -> Result<(), String> {
    let name = &case.name;
    let refusal = case.plan.strip_prefix("refused: ");
    let known = match refusal {
        Some(reason) => RefusalReason::ALL.iter().any(|known| known.as_str() == reason),
        None => ["migrated", "empty"].contains(&case.plan.as_str()),
    };
    if !known {
        return Err(format!("{name}: planning has no result `{}`", case.plan));
    }
    let no_line = |line: &&String| !LINES.contains(&line.as_str()) && !ODD.contains(&line.as_str());
    if let Some(line) = case.lines().iter().find(no_line) {
        return Err(format!("{name}: no release line `{line}`"));
    }
    case.scene()?;
    case.logins()?;
    case.files("before")?;
    let pulls = case.pulls()?;
    if pulls.is_empty() {
        return Err(format!("{name}: nothing is pulled"));
    }
    // Otherwise only the model would determine whether the difference is the requested one.
    if case.differs.is_some() && pulls.iter().any(|(pull, _)| pull.contacted.is_none()) {
        return Err(format!(
            "{name}: pulls differ, and the case does not specify the contacted hosts"
        ));
    }
    let requested = case.differs == Some(Differs::Requested);
    if requested && case.wishes().is_empty() || case.differs == Some(Differs::Unavoidable) && !case.wishes().is_empty()
    {
        return Err(format!("{name}: the kind of difference is wrong"));
    }
    Ok(())
}

/// Checks that there are enough cases on each release line, without refusals.
pub(crate) fn enough(cases: &[Case]) -> Result<(), String> {
    for (lines, least) in [(LINES.as_slice(), LEAST), (ODD.as_slice(), LEAST_ODD)] {
        for line in lines {
            let compared = cases.iter().filter(|case| !case.plan.starts_with("refused"));
            let number = compared.filter(|case| case.lines().iter().any(|of| of == line)).count();
            if number < least {
                return Err(format!("{number} cases on {line}, which is less than {least}"));
            }
        }
    }
    Ok(())
}
