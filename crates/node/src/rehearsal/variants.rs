//! The sets of files with which containerd may start once a change has begun: the old files, the new files, and the
//! mixtures that a crash leaves between two configuration files.

use mirrorshift_plan::Step;
use mirrorshift_plan::rehearsal::Variant;
use std::collections::BTreeSet;

/// Returns each set with its steps. `configs` are the files that containerd reads when it starts. All other files, such
/// as hosts.toml and CAs, are read at a pull, and are written first.
pub(super) fn variants<'s>(steps: &'s [Step], configs: &BTreeSet<String>) -> Vec<(Variant, Vec<&'s Step>)> {
    let (config, other): (Vec<&Step>, Vec<&Step>) = steps.iter().partition(|step| configs.contains(&step.path));
    let mut variants = vec![(Variant::Before, Vec::new())];
    for done in 1..config.len() {
        let steps = other.iter().chain(&config[..done]).copied().collect();
        variants.push((Variant::Prefix(done), steps));
    }
    variants.push((Variant::After, other.into_iter().chain(config).collect()));
    variants
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirrorshift_plan::Expect;

    fn paths(steps: &[&str], configs: &[&str]) -> Vec<(Variant, Vec<String>)> {
        let step = |path: &&str| Step {
            path: (*path).to_owned(),
            expect: Expect::Absent,
            content: None,
            why: String::new(),
        };
        let steps: Vec<Step> = steps.iter().map(step).collect();
        let configs = configs.iter().map(|path| (*path).to_owned()).collect();
        variants(&steps, &configs)
            .into_iter()
            .map(|(variant, steps)| (variant, steps.iter().map(|step| step.path.clone()).collect()))
            .collect()
    }

    #[test]
    fn variants_have_each_prefix_of_the_configuration_files() {
        let all = paths(&["h", "drop-in", "root"], &["drop-in", "root", "untouched"]);
        assert_eq!(
            all.iter()
                .map(|(variant, steps)| (*variant, steps.join(" ")))
                .collect::<Vec<_>>(),
            [
                (Variant::Before, String::new()),
                (Variant::Prefix(1), "h drop-in".to_owned()),
                (Variant::After, "h drop-in root".to_owned()),
            ]
        );
    }

    #[test]
    fn variants_of_one_configuration_file_have_no_prefix() {
        for steps in [&["h", "root"][..], &["h"], &[]] {
            let all = paths(steps, &["root"]);
            assert_eq!(all.len(), 2, "{steps:?}");
            assert_eq!(all[1].1, steps);
        }
    }
}
