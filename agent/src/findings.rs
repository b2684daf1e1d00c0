//! What should be known of a node's files, and the one piece of advice that most nodes need.

use mirrorshift_containerd::{Config, LoadError, Origin, Place, Tree, Version};
use mirrorshift_plan::{Plan, RouteChange, Subject};
use std::fmt;

/// How bad a finding is, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(dead_code, reason = "the whole scale, of which one finding uses one")]
pub(crate) enum Severity {
    Refuses,
    Breaks,
    Ignored,
    Deprecated,
    Advice,
}

impl Severity {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Refuses => "refuses",
            Self::Breaks => "breaks",
            Self::Ignored => "ignored",
            Self::Deprecated => "deprecated",
            Self::Advice => "advice",
        }
    }
}

/// One thing that an operator should know.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) id: &'static str,
    pub(crate) severity: Severity,
    pub(crate) place: Option<Place>,
    pub(crate) what: String,
    pub(crate) effect: String,
    pub(crate) remedy: String,
}

/// What `version` makes of the files.
pub(crate) fn find(reading: &Result<Config, Box<LoadError>>, _tree: &Tree, _version: &Version) -> Vec<Finding> {
    let Ok(config) = reading else { return Vec::new() };
    let deprecated = config.registry.mirrors.first().map(|mirror| Finding {
        id: "mirrors-deprecated",
        severity: Severity::Deprecated,
        place: Some(mirror.place.clone()),
        what: "`registry.mirrors` is deprecated.".to_owned(),
        effect: "A newer containerd stops reading it.".to_owned(),
        remedy: "Run `mirrorshift migrate`.".to_owned(),
    });
    deprecated.into_iter().collect()
}

/// A wildcard that stays in force although its hosts may each know one registry only.
#[derive(Clone, Debug)]
pub(crate) struct WildcardAdvice {
    /// The hosts of the wildcard, as URLs.
    pub(crate) hosts: Vec<String>,
    /// Where the first of them stands.
    pub(crate) place: Option<Place>,
    /// The registries that are asked there, Docker Hub aside.
    pub(crate) registries: Vec<String>,
}

impl WildcardAdvice {
    /// The advice that `plan` needs, if it needs any.
    ///
    /// Docker's own registry, which most such hosts run, is a cache of one upstream an instance. What it proxies cannot
    /// be seen from a node's files, so this is advice and no error.
    pub(crate) fn of(plan: &Plan) -> Option<Self> {
        let served: Vec<_> = plan
            .routes
            .iter()
            .map(asked_by_wildcard)
            .filter(|(_, hosts)| !hosts.is_empty())
            .collect();
        let (_, hosts) = served.iter().find(|(change, _)| change.registry == Subject::Unnamed)?;
        let place = plan
            .routes
            .iter()
            .flat_map(|change| change.before.asks())
            .find_map(|ask| {
                let place = ask.why.place.clone();
                place.filter(|_| is_wildcard(ask.why.rule))
            });
        let others = served.iter().map(|(change, _)| change.registry.to_string());
        Some(Self {
            hosts: hosts.clone(),
            place,
            registries: others.filter(|registry| registry != "docker.io").collect(),
        })
    }
}

fn is_wildcard(rule: Origin) -> bool {
    matches!(rule, Origin::Wildcard | Origin::DefaultDirectory)
}

/// The hosts of the wildcard that will be asked for a registry.
fn asked_by_wildcard(change: &RouteChange) -> (&RouteChange, Vec<String>) {
    let asks = change
        .after
        .asks()
        .iter()
        .filter(|ask| is_wildcard(ask.why.rule) && ask.namespace.is_some());
    (change, asks.map(crate::render::routes::url).collect())
}

impl fmt::Display for WildcardAdvice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the wildcard sends every registry to {}; if that is a cache of Docker Hub alone, as Docker's registry is \
             when it proxies, it has nothing of {}",
            self.hosts.join(" and "),
            self.registries.join(", ")
        )
    }
}
