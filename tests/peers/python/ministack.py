#!/usr/bin/env python3
"""What has to be done for MiniStack so that it runs a deployment of template.yaml; run by the SAM CLI's own python.

    ministack.py template BUILT OUT
        Writes BUILT (what `sam build` made) to OUT so that MiniStack takes it: without the resources that its
        CloudFormation refuses, and with some expressions written in another way, or not at all.
        Prints {"left_out": {resource: why}, "adapted": {why: how often}}.

    ministack.py routes STACK BUILT
        Adds to the deployed API what is in the OpenAPI body of BUILT and did not arrive: MiniStack's import knows no
        `x-amazon-apigateway-any-method` and no `x-amazon-apigateway-gateway-responses`.
        Prints {"added": [...], "api": id, "stage": name, "outputs": {...}}.

    ministack.py server STACK
        Makes a user that may do what the stack's FleetPolicyArn allows, and nothing else.
        Prints {"key": ..., "secret": ...}.

    ministack.py dead STACK
        Prints {queue: number of messages} of the stack's dead-letter queues.

Endpoint, region and credentials come from the environment, as for every AWS tool.
"""

import json
import sys

import boto3
from samcli.yamlhelper import yaml_dump, yaml_parse

METHODS = {"get", "put", "post", "delete", "options", "head", "patch"}
ANY = "x-amazon-apigateway-any-method"


def read(path):
    with open(path, encoding="utf-8") as file:
        return yaml_parse(file.read())


def refused(resource):
    """Why MiniStack's CloudFormation would fail the stack over a resource; None if it does not."""
    properties = resource.get("Properties", {})
    if resource["Type"] == "AWS::CloudWatch::Alarm" and "Metrics" in properties:
        return "MiniStack has no alarms on metric math"
    return None


class Adapted:
    """A template as MiniStack takes it."""

    def __init__(self, document):
        self.parameters = document.get("Parameters", {})
        self.types = {name: resource["Type"] for name, resource in document["Resources"].items()}
        self.counts = {}
        self.document = self.walk(document)

    def because(self, why, value):
        self.counts[why] = self.counts.get(why, 0) + 1
        return value

    def reference(self, name):
        if self.types.get(name) == "AWS::SecretsManager::Secret":
            return self.because("a secret's Ref is its name to MiniStack: Id", {"Fn::GetAtt": [name, "Id"]})
        return {"Ref": name}

    def member(self, name, value):
        """A member of an object; None if it is to go."""
        if name == "Condition" and "kms:EncryptionContextKeys" in json.dumps(value):
            return self.because("MiniStack knows no kms:EncryptionContextKeys: no condition", None)
        if name == "MaximumConcurrency" and isinstance(value, dict):
            default = int(self.parameters[value["Ref"]]["Default"])
            return self.because("a number by parameter is a text to MiniStack's event sources: its default", default)
        return self.walk(value)

    def walk(self, value):
        if isinstance(value, dict):
            if list(value) == ["Ref"]:
                return self.reference(value["Ref"])
            walked = ((name, self.member(name, inner)) for name, inner in value.items())
            return {name: inner for name, inner in walked if inner is not None or value[name] is None}
        if isinstance(value, list):
            return [self.walk(inner) for inner in value]
        return value


def template(built, out):
    adapted = Adapted(read(built))
    resources = adapted.document["Resources"]
    left_out = {name: why for name, resource in resources.items() if (why := refused(resource))}
    for name in left_out:
        del resources[name]
    with open(out, "w", encoding="utf-8") as file:
        file.write(yaml_dump(adapted.document))
    return {"left_out": left_out, "adapted": adapted.counts}


class Api:
    """The deployed API beside the body that it was made from."""

    def __init__(self, stack, built):
        self.client = boto3.client("apigateway")
        cloudformation = boto3.client("cloudformation")
        described = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
        self.outputs = {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}
        found = cloudformation.describe_stack_resource(StackName=stack, LogicalResourceId="Api")
        self.id = found["StackResourceDetail"]["PhysicalResourceId"]
        self.body = read(built)["Resources"]["Api"]["Properties"]["DefinitionBody"]
        region = self.client.meta.region_name
        account = boto3.client("sts").get_caller_identity()["Account"]
        self.pseudo = {"Partition": "aws", "Region": region, "AccountId": account, "StackName": stack}
        self.added = []

    def text(self, value):
        """A text with the pseudo parameters put in."""
        if isinstance(value, dict) and "Fn::Sub" in value:
            value = value["Fn::Sub"]
            for name, known in self.pseudo.items():
                value = value.replace("${AWS::" + name + "}", known)
        if not isinstance(value, str) or "${" in value:
            raise SystemExit(f"no text: {value}")
        return value

    def resources(self):
        pages = self.client.get_paginator("get_resources").paginate(restApiId=self.id)
        return {item["path"]: item for page in pages for item in page["items"]}

    def resource(self, path):
        """The id of a path's resource, made if it is not there."""
        found = self.resources()
        if path not in found:
            parent, _, part = path.rpartition("/")
            made = self.client.create_resource(restApiId=self.id, parentId=self.resource(parent or "/"), pathPart=part)
            return made["id"]
        return found[path]["id"]

    def authorizer(self, operation):
        schemes = [name for requirement in operation.get("security", []) for name in requirement]
        if not schemes:
            return {"authorizationType": "NONE"}
        known = self.client.get_authorizers(restApiId=self.id)["items"]
        match = [item["id"] for item in known if item["name"] == schemes[0]]
        if not match:
            raise SystemExit(f"the authorizer {schemes[0]} did not arrive")
        return {"authorizationType": "CUSTOM", "authorizerId": match[0]}

    def route(self, path, method, operation):
        resource = self.resource(path)
        if method in self.resources()[path].get("resourceMethods", {}):
            return
        place = {"restApiId": self.id, "resourceId": resource, "httpMethod": method}
        self.client.put_method(**place, **self.authorizer(operation))
        integration = operation["x-amazon-apigateway-integration"]
        self.client.put_integration(
            **place,
            type=integration["type"].upper(),
            integrationHttpMethod=integration["httpMethod"],
            uri=self.text(integration["uri"]),
        )
        self.added.append(f"{method} {path}")

    def gateway_response(self, kind, response):
        known = self.client.get_gateway_response(restApiId=self.id, responseType=kind)
        if not known.get("defaultResponse", True):
            return
        self.client.put_gateway_response(
            restApiId=self.id,
            responseType=kind,
            statusCode=str(response["statusCode"]),
            responseParameters=response.get("responseParameters", {}),
            responseTemplates=response.get("responseTemplates", {}),
        )
        self.added.append(f"gateway response {kind}")

    def complete(self):
        for path, item in self.body["paths"].items():
            for method, operation in item.items():
                if method in METHODS or method == ANY:
                    self.route(path, "ANY" if method == ANY else method.upper(), operation)
        for kind, response in self.body.get("x-amazon-apigateway-gateway-responses", {}).items():
            self.gateway_response(kind, response)
        stage = self.client.get_stages(restApiId=self.id)["item"][0]["stageName"]
        self.client.create_deployment(restApiId=self.id, stageName=stage)
        return {"added": self.added, "api": self.id, "stage": stage, "outputs": self.outputs}


def server(stack):
    described = boto3.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    policy = [output["OutputValue"] for output in described["Outputs"] if output["OutputKey"] == "FleetPolicyArn"][0]
    iam = boto3.client("iam")
    name = f"{stack}-server"
    iam.create_user(UserName=name)
    iam.attach_user_policy(UserName=name, PolicyArn=policy)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return {"key": key["AccessKeyId"], "secret": key["SecretAccessKey"]}


def dead(stack):
    sqs = boto3.client("sqs")
    found = {}
    for queue in ["call-ended-dead", "deliveries-dead"]:
        url = sqs.get_queue_url(QueueName=f"{stack}-{queue}")["QueueUrl"]
        wanted = ["ApproximateNumberOfMessages"]
        attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=wanted)["Attributes"]
        found[queue] = int(attributes[wanted[0]])
    return found


def main():
    match sys.argv[1:]:
        case ["template", built, out]:
            said = template(built, out)
        case ["routes", stack, built]:
            said = Api(stack, built).complete()
        case ["server", stack]:
            said = server(stack)
        case ["dead", stack]:
            said = dead(stack)
        case _:
            raise SystemExit(__doc__)
    json.dump(said, sys.stdout)


main()
