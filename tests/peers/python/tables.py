#!/usr/bin/env python3
"""Reads the platform's tables with boto3, as somebody else's program would, and says as JSON what it finds.

    tables.py ENDPOINT REGION CREDENTIALS_FILE PREFIX CALL_ID

Prints {"tables": {name: {"keys": [...], "indexes": {name: [...]}}}, "call": {...}, "delivery": {...}, "attempts": n,
"objects": [...], "queues": [...], "server": {...}} with every number as text.
"""

import configparser
import decimal
import json
import sys

import boto3
from boto3.dynamodb.conditions import Key


def client_settings(endpoint, region, credentials):
    read = configparser.ConfigParser()
    read.read(credentials)
    profile = read[read.sections()[0]]
    return {
        "endpoint_url": endpoint,
        "region_name": region,
        "aws_access_key_id": profile["aws_access_key_id"],
        "aws_secret_access_key": profile["aws_secret_access_key"],
    }


def plain(value):
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, set)):
        return [plain(inner) for inner in value]
    return value


def keys(schema):
    return [part["AttributeName"] for part in schema]


def main(endpoint, region, credentials, prefix, call_id):
    settings = client_settings(endpoint, region, credentials)
    dynamodb = boto3.resource("dynamodb", **settings)
    found = {"tables": {}}
    for table in dynamodb.tables.all():
        if not table.name.startswith(prefix):
            continue
        indexes = {index["IndexName"]: keys(index["KeySchema"]) for index in table.global_secondary_indexes or []}
        found["tables"][table.name[len(prefix):]] = {"keys": keys(table.key_schema), "indexes": indexes}

    def rows(name):
        return dynamodb.Table(prefix + name)

    call = rows("calls").get_item(Key={"call_id": call_id}, ConsistentRead=True)["Item"]
    found["call"] = plain(call)
    found["delivery"] = plain(rows("deliveries").get_item(Key={"call_id": call_id, "channel": "push"})["Item"])
    tried = rows("attempts").query(KeyConditionExpression=Key("delivery").eq(f"{call_id}#push"))
    found["attempts"] = tried["Count"]
    day = rows("calls").query(IndexName="by_bot_day", KeyConditionExpression=Key("bot_day").eq(call["bot_day"]))
    found["by_bot_day"] = [item["call_id"] for item in day["Items"]]
    servers = rows("servers").scan()["Items"]
    found["servers"] = plain([item for item in servers if item["server_id"] != "summary" and "epoch" in item])
    bucket = boto3.client("s3", **settings)
    listed = bucket.list_objects_v2(Bucket=f"{prefix}calls", Prefix="calls/")
    found["objects"] = sorted(item["Key"].split("/")[-1] for item in listed["Contents"] if call_id in item["Key"])
    queues = boto3.client("sqs", **settings).list_queues(QueueNamePrefix=prefix)
    found["queues"] = sorted(url.split("/")[-1][len(prefix):] for url in queues["QueueUrls"])
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
