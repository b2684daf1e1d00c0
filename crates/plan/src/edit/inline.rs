//! Edits of inline tables, which are on one line and are printed again: only the table's own text changes.

use crate::edit::request::EditRequest;
use crate::edit::run::Replacement;
use mirrorshift_containerd::toml::{Expression, Parsed};
use toml_edit::{InlineTable, Value};

/// Returns the replacement of every inline table in which something is removed or set.
pub(super) fn replacements(file: &Parsed, request: &EditRequest<'_>) -> Vec<Replacement> {
    let assignments = file
        .layout
        .expressions
        .iter()
        .filter_map(|expression| match expression {
            Expression::Assignment(assignment) => Some(assignment),
            _ => None,
        });
    let mut replacements = Vec::new();
    for assignment in assignments {
        let path = file.layout.path_of(assignment);
        let removals: Vec<&[String]> = request
            .removals
            .iter()
            .filter_map(|removal| path_in(&removal.path, &path))
            .collect();
        let table_to_set = request
            .set
            .as_ref()
            .filter(|set| set.table.starts_with(&path))
            .map(|set| &set.table[path.len()..]);
        if removals.is_empty() && table_to_set.is_none() {
            continue;
        }
        let Some(Ok(Value::InlineTable(mut table))) = file.text.get(assignment.value.clone()).map(str::parse::<Value>)
        else {
            continue;
        };
        let before = table.to_string();
        for removal in removals {
            remove(&mut table, removal);
        }
        if let (Some(inner), Some(set)) = (table_to_set, &request.set) {
            put(&mut table, inner, set.key, set.value);
        }
        let after = table.to_string();
        if after != before {
            replacements.push(Replacement {
                range: assignment.value.clone(),
                with: after.trim().to_owned(),
            });
        }
    }
    replacements
}

/// Returns the rest of `inner` after `outer`, when `outer` contains it.
fn path_in<'p>(inner: &'p [String], outer: &[String]) -> Option<&'p [String]> {
    (inner.len() > outer.len() && inner.starts_with(outer)).then(|| &inner[outer.len()..])
}

fn remove(table: &mut InlineTable, path: &[String]) {
    match path {
        [] => {}
        [last] => {
            let gap = take_gap(table);
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

/// Takes the space between the last item and the closing brace.
fn take_gap(table: &mut InlineTable) -> String {
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

fn put(table: &mut InlineTable, path: &[String], key: &str, value: &str) {
    match path {
        [] => {
            // The space before the brace stays there, otherwise it would be before a comma.
            let gap = take_gap(table);
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
