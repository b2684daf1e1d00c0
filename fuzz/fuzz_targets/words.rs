//! Parses single words: versions, image references, registries, endpoints and flags.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mirrorshift_containerd::{Image, Version, is_localhost, is_registry};
use mirrorshift_fuzz::{CONFIG, Files, VERSIONS, settles};
use mirrorshift_plan::policy::{MirrorFlag, MirrorUrl, Policy, RegistryName, WildcardFlag};

fuzz_target!(|text: &str| {
    if let Ok(version) = text.parse::<Version>() {
        let again: Version = version.to_string().parse().expect("a printed version");
        assert_eq!(again.release(), version.release());
    }
    if let Ok(image) = text.parse::<Image>() {
        assert!(is_registry(&image.registry));
        assert_eq!(image.to_string().parse().as_ref(), Ok(&image));
    }
    let _ = is_localhost(text);
    if let Ok(host) = RegistryName::parse(text) {
        assert!(is_registry(host.as_str()), "{host:?}");
    }
    if let Ok(url) = MirrorUrl::parse(text) {
        assert_eq!(MirrorUrl::parse(&url.to_string()).as_ref(), Ok(&url));
    }
    drop(MirrorFlag::parse(text));
    drop(WildcardFlag::parse(text));

    // The text as an endpoint and as the name of a registry.
    let quoted: String = text
        .chars()
        .flat_map(|letter| match letter {
            '"' | '\\' => format!("\\{letter}").chars().collect::<Vec<_>>(),
            letter if letter.is_control() => format!("\\u{:04x}", u32::from(letter)).chars().collect(),
            letter => vec![letter],
        })
        .collect();
    let table = "plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors";
    let config = |registry: &str, endpoint: &str| {
        format!("version = 2\n[{table}.\"{registry}\"]\nendpoint = [\"{endpoint}\"]\n")
    };
    let version: Version = VERSIONS[text.len() % VERSIONS.len()]
        .parse()
        .expect("a version of the list");
    for file in [config("reg.test", &quoted), config(&quoted, "https://cache.test")] {
        settles(&version, &Files::split(file.as_bytes(), &[CONFIG]), &Policy::default());
    }
});
