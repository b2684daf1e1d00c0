use crate::edit::*;
use mirrorshift_containerd::toml::parse;

const CRI: &str = "plugins.\"io.containerd.grpc.v1.cri\".registry";

fn path(tail: &[&str]) -> Vec<String> {
    let head = ["plugins", "io.containerd.grpc.v1.cri", "registry"];
    head.iter().chain(tail).map(|part| (*part).to_owned()).collect()
}

/// What becomes of `text` when its mirrors go and `config_path` comes.
fn edited(text: &str) -> EditResult {
    let parsed = parse(text.as_bytes(), false).unwrap();
    let cuts = vec![Removal {
        path: path(&["mirrors"]),
        depth: 1,
        known: &["endpoint"],
    }];
    let set = Some(SetKey {
        table: path(&[]),
        key: "config_path",
        value: "/etc/containerd/certs.d",
    });
    edit(&parsed, &EditRequest { cuts, set }).unwrap()
}

#[test]
fn the_most_common_shape_keeps_every_other_byte() {
    let text = format!(
        "# managed by hand\nversion = 2\n\n[{CRI}]\n  config_path = \"\"\n\n  [{CRI}.auths]\n\n  [{CRI}.mirrors]\n    # our cache\n    [{CRI}.mirrors.\"docker.io\"]\n      endpoint = [\"http://10.0.0.1:5000\"] # rack 3\n\n[{CRI}.x]\n\ty = 1\n"
    );
    let edited = edited(&text);
    let wanted = format!(
        "# managed by hand\nversion = 2\n\n[{CRI}]\n  config_path = \"/etc/containerd/certs.d\"\n\n  [{CRI}.auths]\n\n[{CRI}.x]\n\ty = 1\n"
    );
    assert_eq!(edited.text, wanted);
    let comments: Vec<_> = edited
        .comments
        .iter()
        .map(|gone| (gone.line, gone.text.as_str()))
        .collect();
    assert_eq!(comments, [(10, "# our cache"), (12, "# rack 3")]);
    assert_eq!(edited.comments[0].table, path(&["mirrors", "docker.io"]));
}

#[test]
fn without_a_registry_header_one_is_put_where_the_first_mirror_was() {
    let text = format!("version = 2\n[a]\nb = 1\n  [{CRI}.mirrors.'x']\r\n    endpoint = [\"http://m\"]");
    assert_eq!(
        edited(&text).text,
        format!("version = 2\n[a]\nb = 1\n  [{CRI}]\n    config_path = \"/etc/containerd/certs.d\"\n")
    );
}

#[test]
fn line_ends_and_tabs_stay() {
    let text = format!("version = 2\r\n[{CRI}]\r\n\tx = 1\r\n[{CRI}.mirrors.\"a\"]\r\nendpoint=[]\r\n\r\n[z]\r\n");
    let wanted =
        format!("version = 2\r\n[{CRI}]\r\n\tconfig_path = \"/etc/containerd/certs.d\"\r\n\tx = 1\r\n\r\n[z]\r\n");
    assert_eq!(edited(&text).text, wanted);
}

#[test]
fn a_key_that_containerd_never_read_stays_as_a_comment() {
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
fn dotted_keys_and_inline_tables() {
    let text = format!("{CRI}.mirrors.\"a\".endpoint = [\"http://m\"]\n{CRI}.headers = {{}}\n");
    let wanted = format!("{CRI}.config_path = \"/etc/containerd/certs.d\"\n{CRI}.headers = {{}}\n");
    assert_eq!(edited(&text).text, wanted);
    let text = "[plugins.\"io.containerd.grpc.v1.cri\"]\nregistry = { mirrors = { a = { endpoint = [] } }, headers = {} } # x\n";
    let after = edited(text).text;
    assert!(
        after.contains("config_path = \"/etc/containerd/certs.d\"") && !after.contains("mirrors"),
        "{after}"
    );
    assert!(after.ends_with("} # x\n"), "{after}");
}

#[test]
fn a_comment_above_the_next_table_stays_with_it() {
    let text = format!("[{CRI}]\n[{CRI}.mirrors.\"a\"]\nendpoint = []\n# the GPU\n[gpu]\n");
    let wanted = format!("[{CRI}]\n  config_path = \"/etc/containerd/certs.d\"\n# the GPU\n[gpu]\n");
    assert_eq!(edited(&text).text, wanted);
}

#[test]
fn a_file_without_anything_gets_the_table_at_its_end() {
    assert_eq!(
        edited("version = 2").text,
        format!("version = 2\n\n[{CRI}]\n  config_path = \"/etc/containerd/certs.d\"\n")
    );
}
