//! The keys of the schema: the one table that reading, hints and tests look at.

/// Longer words are compared with no key.
const LONGEST_KEY: usize = 64;

/// The keys that one map of the schema knows.
pub(super) struct Schema {
    /// Where the map stands, for messages.
    pub(super) place: &'static str,
    pub(super) keys: &'static [&'static str],
}

pub(super) static ROOT: Schema = Schema {
    place: "the policy",
    keys: &[
        "apiVersion",
        "kind",
        "mode",
        "wildcard",
        "registries",
        "adopt",
        "restart",
    ],
};
pub(super) static REGISTRY: Schema = Schema {
    place: "an entry of `registries`",
    keys: &["host", "mirrors", "tags", "fallback"],
};
pub(super) static MIRROR: Schema = Schema {
    place: "an entry of `mirrors`",
    keys: &["url"],
};
pub(super) static RESTART: Schema = Schema {
    place: "`restart`",
    keys: &["when", "maxConcurrent", "deadline"],
};
static SCHEMAS: [&Schema; 4] = [&ROOT, &REGISTRY, &MIRROR, &RESTART];

impl Schema {
    /// What somebody who wrote an unknown key probably wanted.
    pub(super) fn suggest(&self, key: &str) -> String {
        if let Some(known) = nearest(key, self.keys) {
            return format!("did you mean `{known}`?");
        }
        if let Some(other) = SCHEMAS.into_iter().find(|other| other.keys.contains(&key)) {
            return format!("`{key}` belongs into {}", other.place);
        }
        if matches!(key, "metadata" | "spec" | "status" | "data") {
            return format!("a policy is a file, no object of the API: its keys stand at the top, without `{key}`");
        }
        format!("known here: `{}`", self.keys.join("`, `"))
    }
}

/// The word that differs least, if it differs little: spelling, case, `-` and `_`.
pub(super) fn nearest<'w>(text: &str, words: &[&'w str]) -> Option<&'w str> {
    if text.len() > LONGEST_KEY {
        return None;
    }
    let plain = |word: &str| {
        word.chars()
            .filter(|c| !matches!(c, '-' | '_' | ' '))
            .collect::<String>()
            .to_lowercase()
    };
    let text = plain(text);
    words
        .iter()
        .map(|word| (strsim::osa_distance(&text, &plain(word)), *word))
        .filter(|(distance, word)| *distance <= word.len().div_ceil(3).min(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}
