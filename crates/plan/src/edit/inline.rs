//! Cuts inside inline tables, which stand on one line and are printed anew: only the table's own text changes.

use crate::edit::{Change, EditRequest};
use mirrorshift_containerd::toml::{Expression, Parsed};
use toml_edit::{InlineTable, Value};

/// The changes of every assignment whose inline table holds something that goes or that is set.
pub(super) fn changes(file: &Parsed, wish: &EditRequest<'_>) -> Vec<Change> {
    let assignments = file
        .layout
        .expressions
        .iter()
        .filter_map(|expression| match expression {
            Expression::Assignment(assignment) => Some(assignment),
            _ => None,
        });
    let mut changes = Vec::new();
    for assignment in assignments {
        let path = file.layout.path_of(assignment);
        let below_cuts: Vec<&[String]> = wish.cuts.iter().filter_map(|cut| below(&cut.path, &path)).collect();
        let below_set = wish
            .set
            .as_ref()
            .filter(|set| set.table.starts_with(&path))
            .map(|set| &set.table[path.len()..]);
        if below_cuts.is_empty() && below_set.is_none() {
            continue;
        }
        let Some(Ok(Value::InlineTable(mut table))) = file.text.get(assignment.value.clone()).map(str::parse::<Value>)
        else {
            continue;
        };
        let before = table.to_string();
        for cut in below_cuts {
            remove(&mut table, cut);
        }
        if let (Some(way), Some(set)) = (below_set, &wish.set) {
            put(&mut table, way, set.key, set.value);
        }
        let after = table.to_string();
        if after != before {
            changes.push(Change {
                range: assignment.value.clone(),
                with: after.trim().to_owned(),
            });
        }
    }
    changes
}

/// What is left of `cut` below `path`, when the path is above it.
fn below<'c>(cut: &'c [String], path: &[String]) -> Option<&'c [String]> {
    (cut.len() > path.len() && cut.starts_with(path)).then(|| &cut[path.len()..])
}

fn remove(table: &mut InlineTable, way: &[String]) {
    match way {
        [] => {}
        [last] => {
            let gap = end_of(table);
            table.remove(last);
            if let Some((_, value)) = table.iter_mut().last() {
                value.decor_mut().set_suffix(gap);
            }
        }
        [next, rest @ ..] => {
            if let Some(Value::InlineTable(inner)) = table.get_mut(next) {
                remove(inner, rest);
            }
        }
    }
}

/// Takes what stands between the last item and the closing brace.
fn end_of(table: &mut InlineTable) -> String {
    let last = table.iter_mut().last();
    let gap = last.map(|(_, value)| {
        let gap = value
            .decor()
            .suffix()
            .and_then(|suffix| suffix.as_str())
            .unwrap_or_default()
            .to_owned();
        value.decor_mut().set_suffix("");
        gap
    });
    gap.unwrap_or_default()
}

fn put(table: &mut InlineTable, way: &[String], key: &str, value: &str) {
    match way {
        [] => {
            // What stands between the last item and the brace stays there, and not before a comma.
            let gap = end_of(table);
            let mut value = Value::from(value);
            value.decor_mut().set_suffix(gap);
            table.insert(key, value);
        }
        [next, rest @ ..] => {
            let inner = table.get_or_insert(next, InlineTable::new());
            if let Value::InlineTable(inner) = inner {
                put(inner, rest, key, value);
            }
        }
    }
}
