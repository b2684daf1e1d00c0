//! The published schemas are made from the types: a test, because a build that writes files is nobody's friend.

use crate::json::{ErrorDocument, change, check, explain, plan, status};
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};
use std::path::Path;

fn schema<T: JsonSchema>(name: &str) -> (String, Value) {
    let mut schema = SchemaGenerator::default().into_root_schema_for::<T>().to_value();
    schema["title"] = json!(format!("mirrorshift {name}"));
    schema["properties"]["schemaVersion"] = json!({ "const": crate::json::SCHEMA_VERSION });
    (format!("{name}.schema.json"), schema)
}

/// With `UPDATE_SCHEMAS` set the files are written instead.
#[test]
fn the_published_schemas_are_those_of_the_types() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schemas");
    let update = std::env::var_os("UPDATE_SCHEMAS").is_some();
    for (file, schema) in [
        schema::<plan::PlanDocument>("plan"),
        schema::<change::MigrationDocument>("migrate"),
        schema::<change::RollbackDocument>("rollback"),
        schema::<change::PurgeDocument>("purge"),
        schema::<status::StatusDocument>("status"),
        schema::<check::CheckDocument>("check"),
        schema::<explain::ExplainDocument>("explain"),
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
            "{file} is out of date: run this test with UPDATE_SCHEMAS=1"
        );
    }
}
