//! The published schemas are made from the types.

use crate::json::{ErrorDocument, change, check, explain, plan, status, version};
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};
use std::path::Path;

fn schema<T: JsonSchema>(name: &str) -> (String, Value) {
    let mut schema = SchemaGenerator::default().into_root_schema_for::<T>().to_value();
    schema["title"] = json!(format!("mirrorshift {name}"));
    schema["properties"]["schemaVersion"] = json!({ "const": crate::json::SCHEMA_VERSION });
    (format!("{name}.schema.json"), schema)
}

/// With `MIRRORSHIFT_UPDATE=1` the test writes the files in place of comparing them.
#[test]
fn published_schemas_match_the_types() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schemas");
    let update = std::env::var_os("MIRRORSHIFT_UPDATE").is_some();
    for (file, schema) in [
        schema::<plan::PlanDocument>("plan"),
        schema::<change::MigrationDocument>("migrate"),
        schema::<change::RollbackDocument>("rollback"),
        schema::<change::PurgeDocument>("purge"),
        schema::<status::StatusDocument>("status"),
        schema::<check::CheckDocument>("check"),
        schema::<explain::ExplainDocument>("explain"),
        schema::<explain::FindingHelpDocument>("finding-help"),
        schema::<version::VersionDocument>("version"),
        schema::<ErrorDocument>("error"),
    ] {
        let text = format!("{}\n", serde_json::to_string_pretty(&schema).unwrap());
        let path = folder.join(&file);
        if update {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let published = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            published == text,
            "{file} is out of date: run this test with MIRRORSHIFT_UPDATE=1"
        );
    }
}
