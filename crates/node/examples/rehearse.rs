//! Plans for the running machine, rehearses the plan, and prints the observed requests and the disagreements as JSON.
//!
//! `rehearse` uses the plan that keeps the routes. `rehearse stage PATH FILE…` adds a step that writes FILE to PATH, or
//! replaces the planned step. `rehearse as PROGRAM` runs PROGRAM in the sandbox instead of itself, with a short time
//! limit. `rehearse inside FOLDER` is the command that runs in the sandbox. Exit codes: 0 the reports agree with the
//! plan, 3 they disagree, 1 the plan was not rehearsed.

#![expect(clippy::print_stdout, reason = "the purpose of this example is to print")]

use mirrorshift_containerd::{Config, Tree, Version, read};
use mirrorshift_node::{
    Baseline, Bus, Facts, ObserveOptions, Rehearsal, Root, SandboxTimeouts, observe, run_in_sandbox,
};
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
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match &arguments[..] {
        ["inside", folder] => run_in_sandbox(Path::new(folder))
            .map(|()| ExitCode::SUCCESS)
            .map_err(Into::into),
        [] => rehearse(&[], &own_command()?, SandboxTimeouts::default()),
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
                    why: "given on the command line".to_owned(),
                });
            }
            rehearse(&steps, &own_command()?, SandboxTimeouts::default())
        }
        _ => Err("usage: rehearse [stage PATH FILE…|as PROGRAM]".into()),
    }
}

fn own_command() -> Result<[String; 2], Box<dyn Error>> {
    Ok([std::env::current_exe()?.display().to_string(), "inside".to_owned()])
}

fn rehearse(staged: &[Step], command: &[String], times: SandboxTimeouts) -> Result<ExitCode, Box<dyn Error>> {
    let root = Root::open("/")?;
    let facts = observe(&root, &ObserveOptions::default())?;
    let version: Version = facts
        .containerd
        .version
        .value()
        .ok_or("containerd reports no version")?
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
    let reports = match rehearsal.and_then(|rehearsal| rehearsal.run(&bus)) {
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
        &reports,
    );
    println!("{:#}", output(&plan, &probes, &reports, &disagreements));
    Ok(ExitCode::from(if disagreements.is_empty() { 0 } else { 3 }))
}

fn baseline(facts: &Facts) -> Result<BTreeSet<String>, Box<dyn Error>> {
    let baseline = Baseline::from_facts(facts).ok_or("containerd or its CRI cannot be observed")?;
    Ok(baseline.plugins)
}

/// Reads every file that the rules of this release need.
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
    Err("the files import each other without end".into())
}

fn output(plan: &Plan, probes: &[Probe], reports: &[SandboxReport], disagreements: &[Disagreement]) -> Value {
    let requests = |requests: &[ObservedRequest]| requests.iter().map(ToString::to_string).collect::<Vec<_>>();
    let pulls = |report: &SandboxReport| {
        let rows = report.pulls.iter().map(|pull| {
            let probe = probes.iter().find(|probe| probe.image == pull.image);
            let registry = probe.map(|probe| probe.registry.to_string());
            json!({ "registry": registry, "image": pull.image, "asked": requests(&pull.asked), "said": pull.said })
        });
        rows.collect::<Vec<_>>()
    };
    let variants = reports.iter().map(|report| {
        json!({
            "variant": report.variant,
            "cri": report.cri,
            "silent": report.silent,
            "plugins": report.plugins.len(),
            "configuration": report.effective.as_ref().err(),
            "asked": pulls(report),
            "took_ms": report.took_ms,
        })
    });
    let row = |disagreement: &Disagreement| json!({ "id": disagreement.id(), "said": disagreement.to_string(), "hint": disagreement.hint() });
    json!({
        "steps": plan.steps.iter().map(|step| {
            let digest = step.content.as_deref().map(Digest::of);
            json!({ "path": step.path, "digest": digest })
        }).collect::<Vec<_>>(),
        "variants": variants.collect::<Vec<_>>(),
        "disagreements": disagreements.iter().map(row).collect::<Vec<_>>(),
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
