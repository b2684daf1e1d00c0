//! Observations of this machine with a containerd whose answers are scripted.

use super::*;
use crate::containerd::fake::FakeContainerd;
use crate::containerd::messages::{Image, ListImagesResponse, StatusResponse};
use prost::Message;

const STATUS: &str = "/runtime.v1.RuntimeService/Status";
const LIST_IMAGES: &str = "/runtime.v1.ImageService/ListImages";

fn image_answer() -> (&'static str, Vec<u8>) {
    let image = Image {
        repo_tags: vec!["only-in-an-image.test/app:1".to_owned()],
        ..Image::default()
    };
    (LIST_IMAGES, ListImagesResponse { images: vec![image] }.encode_to_vec())
}

/// Calls `observe` with a containerd that gives `answers`. Returns the result and the methods that were called.
fn with_containerd<T>(
    answers: &[(&'static str, Vec<u8>)],
    observe: impl FnOnce(&Root, &ObserveOptions) -> T,
) -> (T, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let server = FakeContainerd::start(&path, answers);
    let options = ObserveOptions {
        address: Some(path.to_str().unwrap().to_owned()),
        images: true,
        ..ObserveOptions::default()
    };
    let result = observe(&Root::open("/").unwrap(), &options);
    (result, server.calls())
}

#[test]
fn images_are_listed_once_if_cri_answers() {
    let status = (STATUS, StatusResponse::default().encode_to_vec());
    let (facts, calls) = with_containerd(&[status, image_answer()], |root, options| {
        observe(root, options).unwrap()
    });
    let images = Fact::Value(vec!["only-in-an-image.test/app:1".to_owned()]);
    assert_eq!(facts.cri.images, images);
    assert_eq!(calls.iter().filter(|call| *call == LIST_IMAGES).count(), 1, "{calls:?}");
}

#[test]
fn images_are_not_listed_while_cri_is_away() {
    let (facts, calls) = with_containerd(&[image_answer()], |root, options| observe(root, options).unwrap());
    assert_eq!(facts.cri.served, Fact::Value(false));
    assert_eq!(facts.cri.images, Fact::unavailable("containerd does not serve CRI"));
    assert!(!calls.iter().any(|call| call == LIST_IMAGES), "{calls:?}");
}

#[test]
fn images_are_not_listed_unless_requested() {
    let status = (STATUS, StatusResponse::default().encode_to_vec());
    let (facts, calls) = with_containerd(&[status, image_answer()], |root, options| {
        let options = ObserveOptions {
            images: false,
            ..options.clone()
        };
        observe(root, &options).unwrap()
    });
    assert_eq!(facts.cri.images, Fact::unavailable("the images were not requested"));
    assert!(!calls.iter().any(|call| call == LIST_IMAGES), "{calls:?}");
}

#[test]
fn list_images_makes_one_call() {
    let (images, calls) = with_containerd(&[image_answer()], |root, options| list_images(root, options).unwrap());
    assert_eq!(images, Fact::Value(vec!["only-in-an-image.test/app:1".to_owned()]));
    assert_eq!(calls, [LIST_IMAGES]);
}

#[test]
fn inspected_files_replace_those_of_the_observation() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hosts.toml").to_str().unwrap().to_owned();
    let (mut facts, _) = with_containerd(&[], |root, options| observe(root, options).unwrap());
    inspect_files(&Root::open("/").unwrap(), &mut facts, std::slice::from_ref(&path));
    let inspected: Vec<&str> = facts.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(inspected, [facts.evidence.config.as_str(), &path]);
}
