//! Compares the recorded requests with the model.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};

use mirrorshift_containerd::Cri;
use mirrorshift_tests::lab::{Boot, Image, RequestSummary, RequestTarget, RoundReport, normalise};

use crate::expected::{Expected, Pulling, World, settled};
use crate::migrate::Node;

/// The differences found so far, as text.
#[derive(Default)]
struct Differences(String);

impl Differences {
    fn add(&mut self, line: impl Display) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{line}");
    }

    fn lists(&mut self, what: impl Display, model: &[RequestSummary], containerd: &[RequestSummary]) {
        if model == containerd {
            return;
        }
        self.add(what);
        for (whose, list) in [("model", model), ("containerd", containerd)] {
            self.add(format_args!("  {whose}:"));
            for sent in list {
                self.add(format_args!("    {sent}"));
            }
        }
    }
}

/// Compares a round with the model's reading of its files. An error lists the differences.
pub(crate) fn check(world: &World<'_>, node: &Node, images: &[Image], report: &RoundReport) -> Result<(), String> {
    let config = match (&node.config, &report.boot) {
        (Ok(config), Boot::CriOk) if matches!(config.cri, Cri::Loads) => config,
        (Ok(config), Boot::CriDead(_))
            if matches!(
                config.cri,
                Cri::Unavailable {
                    stops_daemon: false,
                    ..
                }
            ) =>
        {
            return Ok(());
        }
        (Ok(config), Boot::Refuses(_)) if matches!(config.cri, Cri::Unavailable { stops_daemon: true, .. }) => {
            return Ok(());
        }
        (Err(_), Boot::Refuses(_)) => return Ok(()),
        (Ok(config), boot) => {
            let cri = &config.cri;
            return Err(format!(
                "the model predicts {cri:?}, and the result is: {boot}\n{}",
                report.log
            ));
        }
        (Err(error), boot) => return Err(format!("the model predicts {error}, and the result is: {boot}")),
    };
    let mut differences = Differences::default();
    if images.len() != report.pulls.len() {
        differences.add(format_args!(
            "{} of {} pulls were made",
            report.pulls.len(),
            images.len()
        ));
    }
    for (image, pull) in images.iter().zip(&report.pulls) {
        let pulling = Pulling {
            world,
            config,
            tree: &node.tree,
            image,
            reference: image.reference.parse().map_err(|error| format!("{error}"))?,
        };
        let expected = pulling.expected();
        let mut own = requests(&expected, image, report);
        if expected.pulled != pull.error.is_none() {
            own.add(format_args!(
                "model: pulled {}, containerd: {:?}",
                expected.pulled, pull.error
            ));
        }
        if !own.0.is_empty() {
            differences.add(format_args!("{}: {}", image.reference, own.0));
        }
    }
    if differences.0.is_empty() {
        Ok(())
    } else {
        Err(differences.0)
    }
}

/// Compares the requests of one pull.
fn requests(expected: &Expected, image: &Image, report: &RoundReport) -> Differences {
    let mut differences = Differences::default();
    let (mut tag, mut digest, mut handshakes, mut blobs) = (Vec::new(), Vec::new(), Vec::new(), 0);
    let mut tokens: BTreeMap<String, Option<String>> = BTreeMap::new();
    let mine = normalise(&report.requests)
        .into_iter()
        .filter(|((of, _), _)| *of == image.reference);
    for ((_, thing), sent) in mine {
        match &thing {
            RequestTarget::Handshake => handshakes = sent,
            RequestTarget::Tag(_) => tag = settled(sent),
            RequestTarget::Digest(_) => digest = settled(sent),
            RequestTarget::Token => {
                for sent in sent {
                    let shown = tokens.entry(sent.at).or_default();
                    *shown = sent.authorization.or(shown.take());
                }
            }
            // If no host has a manifest by digest, some releases request it as a blob.
            RequestTarget::Blob(_) if !expected.pulled && expected.blob.is_empty() && expected.tag.is_empty() => {}
            RequestTarget::Blob(name) => {
                blobs += 1;
                let mut model = expected.blob.clone();
                for sent in &mut model {
                    sent.path.push_str(name);
                }
                differences.lists(&thing, &model, &settled(sent));
            }
            RequestTarget::Ping | RequestTarget::Other(_) => differences.lists(&thing, &[], &sent),
        }
    }
    differences.lists("manifest by tag", &expected.tag, &tag);
    differences.lists("manifest by digest", &expected.digest, &digest);
    differences.lists("failed TLS", &expected.handshakes, &handshakes);
    if expected.tokens != tokens {
        differences.add(format_args!(
            "token servers\n  model:      {:?}\n  containerd: {tokens:?}",
            expected.tokens
        ));
    }
    // A configuration and a layer.
    if expected.pulled && blobs != 2 {
        differences.add(format_args!("{blobs} blobs were requested"));
    }
    differences
}
