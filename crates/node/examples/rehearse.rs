//! Plans for the running machine, rehearses the plan, and prints who was asked and what disagrees, as JSON.
//!
//! `rehearse`: the plan that keeps behaviour. `rehearse stage PATH FILE…`: with the bytes of FILE put in place at PATH instead
//! of or beside what was planned, as if a plan had said so. `rehearse as PROGRAM`: with PROGRAM in the sandbox instead of
//! itself, and little patience. `rehearse inside FOLDER` is what it calls itself with in the sandbox. Exit codes: 0 agreed,
//! 3 not, 1 not rehearsed.

#![expect(clippy::print_stdout, reason = "printing is what this example is for")]

use mirrorshift_containerd::{Config, Tree, Version, read};
use mirrorshift_node::{Baseline, Bus, Facts, ObserveOptions, Rehearsal, Root, SandboxTimeouts, inside, observe};
use mirrorshift_plan::policy::Policy;
use mirrorshift_plan::rehearsal::{Disagreement, Expected, ObservedRequest, Probe, SandboxReport, compare, probes};
use mirrorshift_plan::{Digest, Expect, NodeFiles, Plan, Step, plan};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        writeln!(std::io::stderr(), "{}", chain(&*error)).ok();
        ExitCode::FAILURE
    })
}

fn run() -> Result<ExitCode, Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match &words[..] {
        ["inside", folder] => inside(Path::new(folder))
            .map(|()| ExitCode::SUCCESS)
            .map_err(Into::into),
        [] => rehearse(&[], &own()?, SandboxTimeouts::default()),
        ["as", program] => {
            let times = SandboxTimeouts {
                whole: Duration::from_secs(3),
                ..SandboxTimeouts::default()
            };
            rehearse(&[], &[(*program).to_owned()], times)
        }
        ["stage", staged @ ..] if staged.len() % 2 == 0 => {
            let mut steps = Vec::new();
            for pair in staged.chunks_exact(2) {
                steps.push(Step {
                    path: pair[0].to_owned(),
                    expect: Expect::Absent,
                    content: Some(std::fs::read(pair[1])?),
                    why: "said on the command line".to_owned(),
                });
            }
            rehearse(&steps, &own()?, SandboxTimeouts::default())
        }
        _ => Err("usage: rehearse [stage PATH FILE…|as PROGRAM]".into()),
    }
}

fn own() -> Result<[String; 2], Box<dyn Error>> {
    Ok([std::env::current_exe()?.display().to_string(), "inside".to_owned()])
}

fn rehearse(staged: &[Step], command: &[String], times: SandboxTimeouts) -> Result<ExitCode, Box<dyn Error>> {
    let root = Root::open("/")?;
    let facts = observe(&root, &ObserveOptions::default())?;
    let version: Version = facts
        .containerd
        .version
        .known()
        .ok_or("containerd tells no version")?
        .parse()?;
    let config = facts
        .serving_daemon()
        .ok_or("no containerd serves CRI")?
        .launch
        .config_path()
        .to_owned();
    let (tree, _) = files(&root, &version, &config)?;
    let node = NodeFiles {
        version: &version,
        config: &config,
        tree: &tree,
        owned: &BTreeSet::new(),
        images: &[],
    };
    let mut plan = plan(&node, &Policy::default()).map_err(|refusal| format!("{refusal:?}"))?;
    for step in staged {
        plan.steps.retain(|planned| planned.path != step.path);
    }
    plan.steps.extend_from_slice(staged);
    let probes = probes(&plan);
    let rehearsal = Rehearsal::new(&root, &facts, &node, &plan, &probes, command, times);
    let bus = Bus::connect(Duration::from_secs(5))?;
    let heard = match rehearsal.and_then(|rehearsal| rehearsal.run(&bus)) {
        Ok(heard) => heard,
        Err(error) => {
            let hint = error.hint();
            return Err(format!("{} ({hint})", chain(&error)).into());
        }
    };
    let loaded = baseline(&facts)?;
    let disagreements = compare(
        &Expected {
            plan: &plan,
            probes: &probes,
            loaded: &loaded,
        },
        &heard,
    );
    println!("{:#}", shown(&plan, &probes, &heard, &disagreements));
    Ok(ExitCode::from(if disagreements.is_empty() { 0 } else { 3 }))
}

fn baseline(facts: &Facts) -> Result<BTreeSet<String>, Box<dyn Error>> {
    let baseline = Baseline::of(facts).ok_or("nothing can be compared with what cannot be asked")?;
    Ok(baseline.plugins)
}

/// Everything that the rules of this release ask for.
fn files(root: &Root, version: &Version, config: &str) -> Result<(Tree, Config), Box<dyn Error>> {
    let mut tree = Tree::new();
    for _ in 0..64 {
        let reading = read(version, config, &tree);
        if reading.missing.is_empty() {
            return Ok((tree, reading.outcome?));
        }
        for path in reading.missing {
            let entry = root.entry(&path);
            tree.insert(path, entry);
        }
    }
    Err("the files never end".into())
}

fn shown(plan: &Plan, probes: &[Probe], heard: &[SandboxReport], disagreements: &[Disagreement]) -> Value {
    let asked = |asked: &[ObservedRequest]| asked.iter().map(ToString::to_string).collect::<Vec<_>>();
    let pulls = |heard: &SandboxReport| {
        let rows = heard.pulls.iter().map(|pull| {
            let probe = probes.iter().find(|probe| probe.image == pull.image);
            let registry = probe.map(|probe| probe.registry.to_string());
            json!({ "registry": registry, "image": pull.image, "asked": asked(&pull.asked), "said": pull.said })
        });
        rows.collect::<Vec<_>>()
    };
    let variants = heard.iter().map(|heard| {
        json!({
            "variant": heard.variant,
            "cri": heard.cri,
            "silent": heard.silent,
            "plugins": heard.plugins.len(),
            "configuration": heard.effective.as_ref().err(),
            "asked": pulls(heard),
            "took_ms": heard.took_ms,
        })
    });
    let said = |one: &Disagreement| json!({ "id": one.id(), "said": one.to_string(), "hint": one.hint() });
    json!({
        "steps": plan.steps.iter().map(|step| {
            let digest = step.content.as_deref().map(Digest::of);
            json!({ "path": step.path, "digest": digest })
        }).collect::<Vec<_>>(),
        "variants": variants.collect::<Vec<_>>(),
        "disagreements": disagreements.iter().map(said).collect::<Vec<_>>(),
    })
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
