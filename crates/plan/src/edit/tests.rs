use crate::edit::edit;
use crate::edit::request::{EditRequest, Removal, SetKey};
use crate::edit::result::EditResult;
use mirrorshift_containerd::toml::parse;

const CRI: &str = "plugins.\"io.containerd.grpc.v1.cri\".registry";

fn path(tail: &[&str]) -> Vec<String> {
    let head = ["plugins", "io.containerd.grpc.v1.cri", "registry"];
    head.iter().chain(tail).map(|part| (*part).to_owned()).collect()
}

/// Removes the mirrors of `text` and sets `config_path`.
fn edited(text: &str) -> EditResult {
    let parsed = parse(text.as_bytes(), false).unwrap();
    let removals = vec![Removal {
        path: path(&["mirrors"]),
        depth: 1,
        known: &["endpoint"],
    }];
    let set = Some(SetKey {
        table: path(&[]),
        key: "config_path",
        value: "/etc/containerd/certs.d",
    });
    edit(&parsed, &EditRequest { removals, set }).unwrap()
}

#[test]
fn most_common_file_keeps_every_other_byte() {
    let text = format!(
        "# managed by hand\nversion = 2\n\n[{CRI}]\n  config_path = \"\"\n\n  [{CRI}.auths]\n\n  [{CRI}.mirrors]\n    # our cache\n    [{CRI}.mirrors.\"docker.io\"]\n      endpoint = [\"http://10.0.0.1:5000\"] # rack 3\n\n[{CRI}.x]\n\ty = 1\n"
    );
    let edited = edited(&text);
    let expected = format!(
        "# managed by hand\nversion = 2\n\n[{CRI}]\n  config_path = \"/etc/containerd/certs.d\"\n\n  [{CRI}.auths]\n\n[{CRI}.x]\n\ty = 1\n"
    );
    assert_eq!(edited.text, expected);
    let comments: Vec<_> = edited
        .comments
        .iter()
        .map(|removed| (removed.line, removed.text.as_str()))
        .collect();
    assert_eq!(comments, [(10, "# our cache"), (12, "# rack 3")]);
    assert_eq!(edited.comments[0].table, path(&["mirrors", "docker.io"]));
}

#[test]
fn missing_registry_header_is_added_in_place_of_the_first_mirror() {
    let text = format!("version = 2\n[a]\nb = 1\n  [{CRI}.mirrors.'x']\r\n    endpoint = [\"http://m\"]");
    assert_eq!(
        edited(&text).text,
        format!("version = 2\n[a]\nb = 1\n  [{CRI}]\n    config_path = \"/etc/containerd/certs.d\"\n")
    );
}

#[test]
fn line_ends_and_tabs_are_kept() {
    let text = format!("version = 2\r\n[{CRI}]\r\n\tx = 1\r\n[{CRI}.mirrors.\"a\"]\r\nendpoint=[]\r\n\r\n[z]\r\n");
    let expected =
        format!("version = 2\r\n[{CRI}]\r\n\tconfig_path = \"/etc/containerd/certs.d\"\r\n\tx = 1\r\n\r\n[z]\r\n");
    assert_eq!(edited(&text).text, expected);
}

#[test]
fn key_that_containerd_never_read_is_kept_as_a_comment() {
    let text = format!("[{CRI}.mirrors.\"k8s.gcr.io\"]\n  endpoint = [\"https://m\"]\nsandbox_image = \"pause:3\"\n");
    let edited = edited(&text);
    assert_eq!(
        edited.text,
        format!(
            "[{CRI}]\n  config_path = \"/etc/containerd/certs.d\"\n# not read by containerd, kept: sandbox_image = \"pause:3\"\n"
        )
    );
    assert_eq!(edited.kept.len(), 1);
}

#[test]
fn dotted_keys_and_inline_tables_are_edited() {
    let text = format!("{CRI}.mirrors.\"a\".endpoint = [\"http://m\"]\n{CRI}.headers = {{}}\n");
    let expected = format!("{CRI}.config_path = \"/etc/containerd/certs.d\"\n{CRI}.headers = {{}}\n");
    assert_eq!(edited(&text).text, expected);
    let text = "[plugins.\"io.containerd.grpc.v1.cri\"]\nregistry = { mirrors = { a = { endpoint = [] } }, headers = {} } # x\n";
    let after = edited(text).text;
    assert!(
        after.contains("config_path = \"/etc/containerd/certs.d\"") && !after.contains("mirrors"),
        "{after}"
    );
    assert!(after.ends_with("} # x\n"), "{after}");
}

#[test]
fn comment_above_the_next_table_is_kept() {
    let text = format!("[{CRI}]\n[{CRI}.mirrors.\"a\"]\nendpoint = []\n# the GPU\n[gpu]\n");
    let expected = format!("[{CRI}]\n  config_path = \"/etc/containerd/certs.d\"\n# the GPU\n[gpu]\n");
    assert_eq!(edited(&text).text, expected);
}

#[test]
fn file_without_settings_gets_the_table_at_its_end() {
    assert_eq!(
        edited("version = 2").text,
        format!("version = 2\n\n[{CRI}]\n  config_path = \"/etc/containerd/certs.d\"\n")
    );
}
