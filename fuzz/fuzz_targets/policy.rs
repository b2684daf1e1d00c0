//! Parses a policy and makes a plan with it for a node that has mirrors.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mirrorshift_containerd::Version;
use mirrorshift_fuzz::{CONFIG, Files, settles};
use mirrorshift_plan::policy::{MirrorUrl, Policy, RegistryName};

const NODE: &[u8] = br#"version = 2
[plugins."io.containerd.grpc.v1.cri".registry.mirrors."*"]
  endpoint = ["http://10.0.0.5:5000"]
[plugins."io.containerd.grpc.v1.cri".registry.mirrors."ghcr.io"]
  endpoint = ["https://harbor.test/v2/ghcr"]
"#;

fuzz_target!(|data: &[u8]| {
    let policy = match Policy::parse_bytes(data, "policy.yaml") {
        Ok(policy) => policy,
        Err(error) => {
            let message = error.to_string();
            assert!(
                !message.is_empty() && message.len() < 4096,
                "{} bytes of message",
                message.len()
            );
            return;
        }
    };
    for registry in &policy.registries {
        assert_eq!(RegistryName::parse(registry.host.as_str()).as_ref(), Ok(&registry.host));
        for url in registry.mirrors.iter().flatten() {
            assert_eq!(MirrorUrl::parse(&url.to_string()).as_ref(), Ok(url));
        }
    }
    let version: Version = "1.7.24".parse().expect("a version");
    settles(&version, &Files::split(NODE, &[CONFIG]), &policy);
});
