//! The network, and what the fleet's template imports.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::check;
use super::data::same;
use super::document::{STACK, Template, loose, many, text};

fn groups(template: &Template) -> Vec<String> {
    let mut faults = Vec::new();
    let from_functions = json!("<LambdaSecurityGroup.GroupId>");
    let fleet = template.properties("FleetSecurityGroup");
    for rule in many(&fleet["SecurityGroupIngress"]) {
        let private = rule["FromPort"] == 8090 && rule["ToPort"] == 8090 && rule["IpProtocol"] == "tcp";
        if !private || rule["SourceSecurityGroupId"] != from_functions {
            faults.push(format!("servers are open: {rule}"));
        }
    }
    if many(&fleet["SecurityGroupIngress"]).is_empty() {
        faults.push("no function reaches a server".to_owned());
    }
    let functions = template.properties("LambdaSecurityGroup");
    if functions.get("SecurityGroupIngress").is_some() {
        faults.push("functions are open".to_owned());
    }
    for rule in many(&functions["SecurityGroupEgress"]) {
        let to_servers = rule["FromPort"] == 8090 && rule["ToPort"] == 8090 && rule["CidrIp"] == "10.20.0.0/16";
        let to_endpoints = rule["FromPort"] == 443 && rule["ToPort"] == 443;
        if !to_servers && !to_endpoints {
            faults.push(format!("functions reach {rule}"));
        }
    }
    let known = [from_functions, json!("<FleetSecurityGroup.GroupId>")];
    for rule in many(&template.properties("EndpointSecurityGroup")["SecurityGroupIngress"]) {
        if rule["FromPort"] != 443 || rule["ToPort"] != 443 || !known.contains(&rule["SourceSecurityGroupId"]) {
            faults.push(format!("endpoints are open: {rule}"));
        }
    }
    faults
}

#[test]
fn only_the_control_plane_reaches_a_servers_private_port() {
    let fleet = "/Resources/FleetSecurityGroup/Properties/SecurityGroupIngress";
    check(
        groups,
        &[
            (&format!("{fleet}/0/SourceSecurityGroupId"), Value::Null, "servers are open"),
            (&format!("{fleet}/0/ToPort"), json!(9000), "servers are open"),
            (fleet, Value::Null, "no function reaches"),
            ("/Resources/LambdaSecurityGroup/Properties/SecurityGroupEgress/0/CidrIp", json!("0.0.0.0/0"), "reach"),
            ("/Resources/LambdaSecurityGroup/Properties/SecurityGroupIngress", json!([]), "functions are open"),
            (
                "/Resources/EndpointSecurityGroup/Properties/SecurityGroupIngress/0/SourceSecurityGroupId",
                Value::Null,
                "endpoints are open",
            ),
        ],
    );
}

fn endpoints(template: &Template) -> Vec<String> {
    let mut faults = Vec::new();
    let found = template.of("AWS::EC2::VPCEndpoint");
    for (service, kind) in [
        ("dynamodb", "Gateway"),
        ("s3", "Gateway"),
        ("sqs", "Interface"),
        ("kms", "Interface"),
        ("secretsmanager", "Interface"),
        ("logs", "Interface"),
    ] {
        let name = format!("com.amazonaws.eu-west-1.{service}");
        let Some((id, endpoint)) = found.iter().find(|(_, endpoint)| endpoint["ServiceName"] == name) else {
            faults.push(format!("functions in the VPC do not reach {service}"));
            continue;
        };
        same(&mut faults, &format!("{id}'s kind"), &endpoint["VpcEndpointType"], &json!(kind));
        if kind == "Gateway" {
            let routes = json!(["<PublicRoutes>", "<PrivateRoutes>"]);
            same(&mut faults, &format!("{id}'s routes"), &endpoint["RouteTableIds"], &routes);
        } else {
            let subnets = json!(["<PrivateSubnetA>", "<PrivateSubnetB>"]);
            same(&mut faults, &format!("{id}'s subnets"), &endpoint["SubnetIds"], &subnets);
            same(&mut faults, &format!("{id}'s DNS"), &endpoint["PrivateDnsEnabled"], &json!(true));
        }
    }
    let to_the_internet = template.of("AWS::EC2::Route");
    for (id, route) in to_the_internet {
        if route["RouteTableId"] != "<PublicRoutes>" {
            faults.push(format!("{id} leads functions to the Internet"));
        }
    }
    if !template.of("AWS::EC2::NatGateway").is_empty() {
        faults.push("there is a NAT".to_owned());
    }
    faults
}

#[test]
fn functions_in_the_vpc_reach_what_they_use_and_not_the_internet() {
    check(
        endpoints,
        &[
            ("/Resources/SqsEndpoint", Value::Null, "do not reach sqs"),
            ("/Resources/S3Endpoint/Properties/RouteTableIds", json!(["<PublicRoutes>"]), "S3Endpoint's routes"),
            ("/Resources/KmsEndpoint/Properties/PrivateDnsEnabled", json!(false), "KmsEndpoint's DNS"),
            ("/Resources/RouteToTheInternet/Properties/RouteTableId", json!("<PrivateRoutes>"), "to the Internet"),
        ],
    );
}

/// A made VPC is cut into four: `Fn::Cidr` refuses parts that do not fit into the whole, and can't reckon with its mask.
fn quarters(template: &Template) -> Vec<String> {
    let mut faults = Vec::new();
    let default = |name: &str| loose(&template.document["Parameters"][name]["Default"]);
    let mask: u8 = default("VpcCidr").rsplit('/').next().unwrap().parse().unwrap();
    if default("SubnetBits") != (30 - mask).to_string() {
        faults.push(format!("{} bits are no quarter of a /{mask}", default("SubnetBits")));
    }
    for (nth, id) in ["PublicSubnetA", "PublicSubnetB", "PrivateSubnetA", "PrivateSubnetB"].into_iter().enumerate() {
        let block = &template.document["Resources"][id]["Properties"]["CidrBlock"];
        let parts = json!({"Fn::Cidr": [{"Ref": "VpcCidr"}, 4, {"Ref": "SubnetBits"}]});
        same(&mut faults, &format!("the addresses of {id}"), block, &json!({"Fn::Select": [nth, parts]}));
    }
    faults
}

#[test]
fn a_made_vpc_is_cut_into_four() {
    let subnet = "/Resources/PrivateSubnetB/Properties/CidrBlock/Fn::Select";
    check(
        quarters,
        &[
            ("/Parameters/SubnetBits/Default", json!(8), "8 bits are no quarter of a /16"),
            ("/Parameters/VpcCidr/Default", json!("10.20.0.0/20"), "14 bits are no quarter of a /20"),
            (&format!("{subnet}/0"), json!(2), "the addresses of PrivateSubnetB"),
            (&format!("{subnet}/1/Fn::Cidr/2"), json!(14), "the addresses of PrivateSubnetB"),
        ],
    );
}

/// With a given VPC nothing of one is made, and everything lies in the given one. Endpoints with private DNS take a service's
/// name for all who are there: none of them may be shut out.
fn given_vpc(template: &Template) -> Vec<String> {
    let mut faults = Vec::new();
    let given = template
        .with("/Parameters/VpcId/Default", &json!("vpc-1"))
        .with("/Parameters/PrivateSubnetIds/Default", &json!("subnet-1,subnet-2"));
    for (id, resource) in given.resources() {
        let made = resource["Condition"].as_str().is_none_or(|condition| given.condition(condition));
        let kinds = ["VPC", "Subnet", "RouteTable", "Route", "InternetGateway", "VPCGatewayAttachment"];
        let kind = text(&resource["Type"]).trim_start_matches("AWS::EC2::");
        if made && (kinds.contains(&kind) || kind == "SubnetRouteTableAssociation") {
            faults.push(format!("{id} is made beside a given VPC"));
        }
        let properties = given.resolve(&resource["Properties"]);
        if made && let Some(vpc) = properties.get("VpcId") {
            same(&mut faults, &format!("the VPC of {id}"), vpc, &json!("vpc-1"));
        }
        if made && properties.to_string().contains("<PrivateSubnetA>") {
            faults.push(format!("{id} names a subnet that is not made"));
        }
    }
    let let_in = many(&given.properties("EndpointSecurityGroup")["SecurityGroupIngress"]);
    if !let_in.iter().any(|rule| rule["CidrIp"] == "10.20.0.0/16" && rule["FromPort"] == 443 && rule["ToPort"] == 443) {
        faults.push("who else is in the VPC is cut off from AWS".to_owned());
    }
    faults
}

#[test]
fn a_given_vpc_is_used_and_none_made() {
    check(
        given_vpc,
        &[
            ("/Resources/PublicSubnetA/Condition", Value::Null, "PublicSubnetA is made"),
            (
                "/Resources/EndpointSecurityGroup/Properties/SecurityGroupIngress/2",
                json!({"Ref": "AWS::NoValue"}),
                "cut off from AWS",
            ),
            ("/Resources/FleetSecurityGroup/Properties/VpcId", json!("<Vpc>"), "the VPC of FleetSecurityGroup"),
            ("/Resources/ReapFunction/Properties/VpcConfig/SubnetIds", json!(["<PrivateSubnetA>"]), "ReapFunction"),
        ],
    );
}

fn outputs(template: &Template) -> Vec<String> {
    let mut faults = Vec::new();
    let wanted = [
        ("ApiUrl", "https://<Api>.execute-api.eu-west-1.amazonaws.com/prod"),
        ("VpcId", "<Vpc>"),
        ("VpcCidr", "10.20.0.0/16"),
        ("PublicSubnetIds", "<PublicSubnetA>,<PublicSubnetB>"),
        ("PrivateSubnetIds", "<PrivateSubnetA>,<PrivateSubnetB>"),
        ("FleetSecurityGroupId", "<FleetSecurityGroup.GroupId>"),
        ("LambdaSecurityGroupId", "<LambdaSecurityGroup.GroupId>"),
        ("NamesPrefix", "ringfleet-"),
        ("BucketName", "<CallsBucket>"),
        ("BucketArn", "<CallsBucket.Arn>"),
        ("SecretArn", "<DeploymentSecret>"),
        ("KmsKeyArn", "<DataKey.Arn>"),
        ("AlarmTopicArn", "<AlarmTopic>"),
        ("FleetPolicyArn", "<FleetPolicy>"),
        ("EgressDenyHosts", "<Api>.execute-api.eu-west-1.amazonaws.com"),
        ("CallShards", "4"),
        ("DeliveryShards", "4"),
        ("ServerShards", "4"),
    ];
    let mut exported = BTreeSet::new();
    for (name, output) in template.outputs().filter(|(_, output)| output.get("Export").is_some()) {
        exported.insert(name);
        let export = template.resolve(&output["Export"]["Name"]);
        same(&mut faults, &format!("the export of {name}"), &export, &json!(format!("{STACK}-{name}")));
        let value = loose(&template.resolve(&output["Value"]));
        match wanted.iter().find(|(known, _)| *known == name) {
            Some((_, wanted)) => same(&mut faults, name, &json!(value), &json!(wanted)),
            None => faults.push(format!("nobody imports {name}")),
        }
    }
    let missing = wanted.iter().filter(|(name, _)| !exported.contains(name));
    faults.extend(missing.map(|(name, _)| format!("{name} is not exported")));
    faults
}

#[test]
fn the_fleets_template_finds_what_it_imports() {
    check(
        outputs,
        &[
            ("/Outputs/FleetPolicyArn/Export", Value::Null, "FleetPolicyArn is not exported"),
            ("/Outputs/BucketName/Export/Name", json!("bucket"), "the export of BucketName"),
            ("/Outputs/SecretArn/Value", json!("x"), "SecretArn"),
        ],
    );
}
