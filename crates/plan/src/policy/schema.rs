//! The keys of the schema: the one table that the reader, hints and tests use.

/// The length up to which a word is compared with the keys.
const LONGEST_KEY: usize = 64;

/// The known keys of one map.
pub(super) struct Schema {
    /// The name of the map in messages.
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
    /// Returns a hint for an unknown key.
    pub(super) fn suggest(&self, key: &str) -> String {
        if let Some(known) = nearest(key, self.keys) {
            return format!("did you mean `{known}`?");
        }
        if let Some(other) = SCHEMAS.into_iter().find(|other| other.keys.contains(&key)) {
            return format!("`{key}` is a key of {}", other.place);
        }
        if matches!(key, "metadata" | "spec" | "status" | "data") {
            return format!("a policy is a file, not a Kubernetes object: write its keys at the top, without `{key}`");
        }
        format!("known keys: `{}`", self.keys.join("`, `"))
    }
}

/// Returns the nearest word, when it differs only a little in spelling, case, `-` and `_`.
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
