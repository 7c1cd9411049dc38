//! infra/docker-compose.yml, read as data: no Docker was there to run it.

use saphyr::{LoadableYamlNode, Yaml};

const FILE: &str = include_str!("../../../infra/docker-compose.yml");

fn texts<'a>(list: &'a Yaml<'a>) -> Vec<&'a str> {
    list.as_sequence().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
}

#[test]
fn the_compose_file_is_bound_to_this_machine_and_pinned() {
    let documents = Yaml::load_from_str(FILE).unwrap();
    let services = &documents[0]["services"];
    let localstack = &services["localstack"];
    let image = localstack["image"].as_str().unwrap();
    // The same as in the contract suite of infra.
    let contract = include_str!("../../../infra/tests/contract/emulators.rs");
    let (name, tag) = image.split_once(':').unwrap();
    assert!(contract.contains(&format!("(\"{name}\", \"{tag}\")")), "{image} is not the contract suite's");
    for port in texts(&localstack["ports"]) {
        assert!(port.starts_with("127.0.0.1:"), "{port} is open to the network");
    }
    let wanted = "dynamodb,s3,sqs,secretsmanager,kms";
    assert_eq!(localstack["environment"]["SERVICES"].as_str(), Some(wanted));

    let ringfleet = &services["ringfleet"];
    let environment = &ringfleet["environment"];
    assert_eq!(environment["AWS_ENDPOINT_URL"].as_str(), Some("http://127.0.0.1:4566"));
    assert_eq!(ringfleet["network_mode"].as_str(), Some("host"), "calls need many ports");
    assert_eq!(ringfleet["depends_on"]["localstack"]["condition"].as_str(), Some("service_healthy"));
    assert!(localstack["healthcheck"]["test"].is_sequence());
    let build = ringfleet["build"]["dockerfile_inline"].as_str().unwrap();
    let toolchain = include_str!("../../../rust-toolchain.toml");
    let version = toolchain.split('"').nth(1).unwrap();
    assert!(build.contains(&format!("FROM rust:{version}-")), "the image has another Rust than rust-toolchain.toml");
    let volumes = &documents[0]["volumes"];
    for service in [localstack, ringfleet] {
        for volume in texts(&service["volumes"]) {
            let name = volume.split(':').next().unwrap();
            assert!(volumes.as_mapping().unwrap().keys().any(|known| known.as_str() == Some(name)), "{name}");
        }
    }
}
