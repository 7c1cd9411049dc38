//! DynamoDB as the platform uses it.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::operation::update_item::UpdateItemOutput;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, Delete, GlobalSecondaryIndex, KeySchemaElement, KeyType,
    KeysAndAttributes, Projection, ProjectionType, Put, PutRequest, ReturnValue, ReturnValuesOnConditionCheckFailure,
    ScalarAttributeType, TableStatus, TimeToLiveSpecification, TimeToLiveStatus, TransactWriteItem, Update,
    WriteRequest,
};

use super::World;

const TABLE: &str = "calls";
const INDEX: &str = "due";

fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn n(number: i64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

fn key(name: &str, kind: KeyType) -> KeySchemaElement {
    KeySchemaElement::builder().attribute_name(name).key_type(kind).build().unwrap()
}

/// A table with `pk` and `sk`, and a sparse, keys-only index on `due_shard` and `due_at`.
pub(super) async fn create_table(dynamodb: &Client, name: &str) {
    let attribute = |name: &str, kind| {
        let attribute = AttributeDefinition::builder().attribute_name(name);
        attribute.attribute_type(kind).build().unwrap()
    };
    let index = GlobalSecondaryIndex::builder()
        .index_name(INDEX)
        .key_schema(key("due_shard", KeyType::Hash))
        .key_schema(key("due_at", KeyType::Range))
        .projection(Projection::builder().projection_type(ProjectionType::KeysOnly).build());
    let request = dynamodb
        .create_table()
        .table_name(name)
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(attribute("pk", ScalarAttributeType::S))
        .attribute_definitions(attribute("sk", ScalarAttributeType::S))
        .attribute_definitions(attribute("due_shard", ScalarAttributeType::S))
        .attribute_definitions(attribute("due_at", ScalarAttributeType::N))
        .key_schema(key("pk", KeyType::Hash))
        .key_schema(key("sk", KeyType::Range))
        .global_secondary_indexes(index.build().unwrap());
    request.send().await.unwrap();
}

async fn world() -> World {
    let world = World::start().await;
    create_table(&world.dynamodb, TABLE).await;
    world
}

async fn put(dynamodb: &Client, pk: &str, attributes: &[(&str, AttributeValue)]) {
    let mut request = dynamodb.put_item().table_name(TABLE).item("pk", s(pk)).item("sk", s("-"));
    for (name, value) in attributes {
        request = request.item(*name, value.clone());
    }
    request.send().await.unwrap();
}

async fn get(dynamodb: &Client, pk: &str) -> Option<HashMap<String, AttributeValue>> {
    let request = dynamodb.get_item().table_name(TABLE).key("pk", s(pk)).key("sk", s("-"));
    request.consistent_read(true).send().await.unwrap().item
}

fn update(dynamodb: &Client, pk: &str, expression: &str) -> UpdateItemFluentBuilder {
    dynamodb
        .update_item()
        .table_name(TABLE)
        .key("pk", s(pk))
        .key("sk", s("-"))
        .update_expression(expression)
        .return_values(ReturnValue::AllNew)
}

#[tokio::test]
async fn tables_describe_themselves() {
    let World { dynamodb, .. } = &world().await;
    let described = dynamodb.describe_table().table_name(TABLE).send().await.unwrap();
    let table = described.table.unwrap();
    assert_eq!(table.table_status(), Some(&TableStatus::Active));
    assert_eq!(table.key_schema().len(), 2);
    let index = &table.global_secondary_indexes()[0];
    assert_eq!(index.index_name(), Some(INDEX));
    let projection = index.projection().unwrap().projection_type();
    assert_eq!(projection, Some(&ProjectionType::KeysOnly));

    let missing = dynamodb.describe_table().table_name("nope").send().await;
    assert!(missing.unwrap_err().into_service_error().is_resource_not_found_exception());
    let again = dynamodb
        .create_table()
        .table_name(TABLE)
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(
            AttributeDefinition::builder().attribute_name("pk").attribute_type(ScalarAttributeType::S).build().unwrap(),
        )
        .key_schema(key("pk", KeyType::Hash));
    let error = again.send().await.unwrap_err().into_service_error();
    assert!(error.is_resource_in_use_exception(), "{error:?}");

    let ttl = TimeToLiveSpecification::builder().enabled(true).attribute_name("expires_at");
    let ttl = dynamodb.update_time_to_live().table_name(TABLE).time_to_live_specification(ttl.build().unwrap());
    ttl.clone().send().await.unwrap();
    let described = dynamodb.describe_time_to_live().table_name(TABLE).send().await.unwrap();
    let described = described.time_to_live_description.unwrap();
    assert_eq!(described.time_to_live_status(), Some(&TimeToLiveStatus::Enabled));
    assert_eq!(described.attribute_name(), Some("expires_at"));
    // A schema step that runs twice must expect this, as on AWS.
    let error = ttl.send().await.unwrap_err();
    assert_eq!(error.code(), Some("ValidationException"));
    assert_eq!(error.message(), Some("TimeToLive is already enabled"));
}

#[tokio::test]
async fn conditions_decide_puts_updates_and_deletes() {
    let World { dynamodb, .. } = &world().await;
    let create = || {
        let put = dynamodb.put_item().table_name(TABLE).item("pk", s("a")).item("sk", s("-"));
        put.item("state", s("queued")).condition_expression("attribute_not_exists(pk)")
    };
    create().send().await.unwrap();
    let error = create()
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    let aws_sdk_dynamodb::operation::put_item::PutItemError::ConditionalCheckFailedException(failed) = error else {
        panic!("{error:?}");
    };
    assert_eq!(failed.item().unwrap()["state"], s("queued"), "the row that was in the way");

    let advance = |from: &str, to: &str| {
        update(dynamodb, "a", "SET #s = :to")
            .condition_expression("#s = :from AND attribute_exists(pk)")
            .expression_attribute_names("#s", "state")
            .expression_attribute_values(":from", s(from))
            .expression_attribute_values(":to", s(to))
            .send()
    };
    advance("queued", "ringing").await.unwrap();
    let error = advance("queued", "ringing").await.unwrap_err().into_service_error();
    assert!(error.is_conditional_check_failed_exception(), "{error:?}");
    assert_eq!(get(dynamodb, "a").await.unwrap()["state"], s("ringing"));

    let delete = |state: &str| {
        let delete = dynamodb.delete_item().table_name(TABLE).key("pk", s("a")).key("sk", s("-"));
        let delete = delete.condition_expression("#s IN (:s, :other)");
        let delete = delete.expression_attribute_names("#s", "state");
        let delete = delete.expression_attribute_values(":s", s(state));
        delete.expression_attribute_values(":other", s("never")).send()
    };
    let error = delete("queued").await.unwrap_err().into_service_error();
    assert!(error.is_conditional_check_failed_exception(), "{error:?}");
    delete("ringing").await.unwrap();
    assert_eq!(get(dynamodb, "a").await, None);
}

#[tokio::test]
async fn update_expressions_do_what_they_say() {
    let World { dynamodb, .. } = &world().await;
    let attributes = |output: UpdateItemOutput| output.attributes.unwrap();
    let count = || {
        update(dynamodb, "a", "SET n = if_not_exists(n, :zero) + :one, entries = list_append(if_not_exists(entries, :none), :entry) ADD tally :one, tags :tags")
            .expression_attribute_values(":zero", n(0))
            .expression_attribute_values(":one", n(1))
            .expression_attribute_values(":none", AttributeValue::L(Vec::new()))
            .expression_attribute_values(":entry", AttributeValue::L(vec![s("x")]))
            .expression_attribute_values(":tags", AttributeValue::Ss(vec!["t".into()]))
            .send()
    };
    count().await.unwrap();
    let row = attributes(count().await.unwrap());
    assert_eq!(row["n"], n(2));
    assert_eq!(row["tally"], n(2));
    assert_eq!(row["entries"], AttributeValue::L(vec![s("x"), s("x")]));
    assert_eq!(row["tags"], AttributeValue::Ss(vec!["t".into()]));

    let nested = update(dynamodb, "a", "SET m = :m REMOVE tally DELETE tags :tags")
        .expression_attribute_values(":m", AttributeValue::M(HashMap::from([("a".into(), n(1))])))
        .expression_attribute_values(":tags", AttributeValue::Ss(vec!["t".into()]));
    let row = attributes(nested.send().await.unwrap());
    assert!(!row.contains_key("tally") && !row.contains_key("tags"), "{row:?}");
    let nested =
        update(dynamodb, "a", "SET m.b = :b, m.a = m.a - :b REMOVE entries[0]").expression_attribute_values(":b", n(5));
    let row = attributes(nested.send().await.unwrap());
    let expect = HashMap::from([("a".to_owned(), n(-4)), ("b".to_owned(), n(5))]);
    assert_eq!(row["m"], AttributeValue::M(expect));
    assert_eq!(row["entries"], AttributeValue::L(vec![s("x")]));
    assert!(get(dynamodb, "a").await.unwrap().contains_key("sk"), "upsert keeps the key");

    let bad = update(dynamodb, "a", "SET n = n + :text").expression_attribute_values(":text", s("x"));
    assert_eq!(bad.send().await.unwrap_err().code(), Some("ValidationException"));
}

#[tokio::test]
async fn a_transaction_is_all_or_nothing_and_says_why() {
    let World { dynamodb, .. } = &world().await;
    put(dynamodb, "counter", &[("active", n(0)), ("max", n(1))]).await;
    let admit = |call: &str| {
        let take = Update::builder()
            .table_name(TABLE)
            .key("pk", s("counter"))
            .key("sk", s("-"))
            .update_expression("SET active = active + :one")
            .condition_expression("active < #max")
            .expression_attribute_names("#max", "max")
            .expression_attribute_values(":one", n(1));
        let row = Put::builder()
            .table_name(TABLE)
            .item("pk", s(call))
            .item("sk", s("-"))
            .condition_expression("attribute_not_exists(pk)");
        dynamodb
            .transact_write_items()
            .transact_items(TransactWriteItem::builder().update(take.build().unwrap()).build())
            .transact_items(TransactWriteItem::builder().put(row.build().unwrap()).build())
            .send()
    };
    admit("first").await.unwrap();
    let error = admit("second").await.unwrap_err().into_service_error();
    let aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError::TransactionCanceledException(
        cancelled,
    ) = error
    else {
        panic!("{error:?}");
    };
    let reasons: Vec<_> = cancelled.cancellation_reasons().iter().filter_map(|r| r.code()).collect();
    assert_eq!(reasons, ["ConditionalCheckFailed", "None"]);
    assert_eq!(get(dynamodb, "second").await, None);
    assert_eq!(get(dynamodb, "counter").await.unwrap()["active"], n(1));

    let delete = Delete::builder().table_name(TABLE).key("pk", s("first")).key("sk", s("-"));
    let delete = TransactWriteItem::builder().delete(delete.build().unwrap()).build();
    // The same token twice is one transaction.
    for _ in 0..2 {
        let transaction = dynamodb.transact_write_items().transact_items(delete.clone());
        transaction.client_request_token("token-1").send().await.unwrap();
    }
    assert_eq!(get(dynamodb, "first").await, None);
}

#[tokio::test]
async fn an_index_is_sparse_holds_keys_only_and_pages_backwards() {
    let World { dynamodb, .. } = &world().await;
    for at in 1..=5 {
        let due = [("due_shard", s("0")), ("due_at", n(at)), ("body", s("big"))];
        put(dynamodb, &format!("call-{at}"), &due).await;
    }
    put(dynamodb, "not-due", &[("due_shard", s("0")), ("body", s("x"))]).await;
    let query = |start: Option<HashMap<String, AttributeValue>>| {
        dynamodb
            .query()
            .table_name(TABLE)
            .index_name(INDEX)
            .key_condition_expression("due_shard = :shard AND due_at <= :now")
            .expression_attribute_values(":shard", s("0"))
            .expression_attribute_values(":now", n(4))
            .scan_index_forward(false)
            .limit(3)
            .set_exclusive_start_key(start)
            .send()
    };
    let first = query(None).await.unwrap();
    let names = |items: &[HashMap<String, AttributeValue>]| -> Vec<String> {
        items.iter().map(|item| item["pk"].as_s().unwrap().clone()).collect()
    };
    assert_eq!(names(first.items()), ["call-4", "call-3", "call-2"]);
    assert_eq!(first.items()[0].len(), 4, "keys only: {:?}", first.items()[0]);
    let start = first.last_evaluated_key.unwrap();
    let second = query(Some(start)).await.unwrap();
    assert_eq!(names(second.items()), ["call-1"]);
    assert_eq!(second.last_evaluated_key(), None);

    // Without its index key a row leaves the index.
    update(dynamodb, "call-4", "REMOVE due_at").send().await.unwrap();
    assert_eq!(names(query(None).await.unwrap().items()), ["call-3", "call-2", "call-1"]);
}

#[tokio::test]
async fn sort_keys_query_by_prefix_and_range() {
    let World { dynamodb, .. } = &world().await;
    for sk in ["a#1", "a#2", "a#3", "b#1"] {
        let put = dynamodb.put_item().table_name(TABLE).item("pk", s("p")).item("sk", s(sk));
        put.item("odd", AttributeValue::Bool(sk.ends_with(['1', '3']))).send().await.unwrap();
    }
    let check = async |condition: &str, values: &[(&str, &str)], expect: &[&str]| {
        let mut query = dynamodb
            .query()
            .table_name(TABLE)
            .consistent_read(true)
            .key_condition_expression(format!("pk = :pk AND {condition}"))
            .filter_expression("odd = :odd")
            .expression_attribute_values(":odd", AttributeValue::Bool(true))
            .expression_attribute_values(":pk", s("p"));
        for (name, value) in values {
            query = query.expression_attribute_values(*name, s(value));
        }
        let found = query.send().await.unwrap();
        let found: Vec<_> = found.items().iter().map(|i| i["sk"].as_s().unwrap()).collect();
        assert_eq!(found, expect, "{condition}");
    };
    check("begins_with(sk, :a)", &[(":a", "a#")], &["a#1", "a#3"]).await;
    check("sk BETWEEN :a AND :b", &[(":a", "a#2"), (":b", "b#1")], &["a#3", "b#1"]).await;
    check("sk > :a", &[(":a", "a#3")], &["b#1"]).await;
}

#[tokio::test]
async fn batches_read_and_write_many_rows() {
    let World { dynamodb, .. } = &world().await;
    let writes: Vec<_> = (0..25)
        .map(|row| {
            let put = PutRequest::builder().item("pk", s(&format!("r{row}"))).item("sk", s("-"));
            WriteRequest::builder().put_request(put.build().unwrap()).build()
        })
        .collect();
    let written = dynamodb.batch_write_item().request_items(TABLE, writes).send().await.unwrap();
    assert!(written.unprocessed_items().is_none_or(HashMap::is_empty));
    let mut keys = KeysAndAttributes::builder().consistent_read(true).projection_expression("pk");
    for row in (0..30).step_by(3) {
        keys = keys.keys(HashMap::from([("pk".to_owned(), s(&format!("r{row}"))), ("sk".to_owned(), s("-"))]));
    }
    let request = dynamodb.batch_get_item().request_items(TABLE, keys.build().unwrap());
    let mut got = request.send().await.unwrap();
    assert!(got.unprocessed_keys().is_none_or(HashMap::is_empty));
    let rows = got.responses.take().unwrap().remove(TABLE).unwrap();
    assert_eq!(rows.len(), 9, "those that exist");
    assert!(rows.iter().all(|row| row.len() == 1), "the projection holds");
}

#[tokio::test]
async fn every_type_and_a_large_row_come_back_as_they_went() {
    let World { dynamodb, .. } = &world().await;
    let values = [
        ("binary", AttributeValue::B(Blob::new([0u8, 1, 254, 255]))),
        ("binaries", AttributeValue::Bs(vec![Blob::new([1u8]), Blob::new([2u8])])),
        ("big", AttributeValue::N("12345678901234567890.123456789".into())),
        ("null", AttributeValue::Null(true)),
        ("empty", s("")),
        ("text", s("Grüße \u{1F4DE} \"quoted\"\n")),
        ("large", s(&"x".repeat(350_000))),
        ("list", AttributeValue::L(vec![n(1), s("a"), AttributeValue::Bool(false)])),
    ];
    put(dynamodb, "all", &values).await;
    let row = get(dynamodb, "all").await.unwrap();
    for (name, value) in values {
        assert_eq!(row[name], value, "{name}");
    }
    let too_large = dynamodb.put_item().table_name(TABLE).item("pk", s("x")).item("sk", s("-"));
    let too_large = too_large.item("large", s(&"x".repeat(410_000))).send().await;
    assert_eq!(too_large.unwrap_err().code(), Some("ValidationException"));
}

#[tokio::test]
async fn malformed_requests_are_validation_errors() {
    let World { dynamodb, .. } = &world().await;
    let check = async |what: &str, pk: Option<AttributeValue>, extra: AttributeValue| {
        let put = dynamodb.put_item().table_name(TABLE).item("sk", s("-")).item("extra", extra);
        let put = match pk {
            Some(pk) => put.item("pk", pk),
            None => put,
        };
        let error = put.send().await.unwrap_err();
        assert_eq!(error.code(), Some("ValidationException"), "{what}");
        let message = error.message().unwrap_or_default();
        assert!(!message.contains("VALIDATION"), "{what}: {message}");
    };
    check("no key", None, n(1)).await;
    check("empty key", Some(s("")), n(1)).await;
    check("key of another type", Some(n(1)), n(1)).await;
    check("no number", Some(s("a")), AttributeValue::N("abc".into())).await;
    check("empty set", Some(s("a")), AttributeValue::Ss(Vec::new())).await;
    check("twice in a set", Some(s("a")), AttributeValue::Ss(vec!["x".into(), "x".into()])).await;
    let missing = dynamodb.get_item().table_name("nope").key("pk", s("a")).send().await;
    assert!(missing.unwrap_err().into_service_error().is_resource_not_found_exception());
}

#[tokio::test]
async fn of_a_hundred_conditional_writes_one_wins() {
    let World { dynamodb, .. } = &world().await;
    put(dynamodb, "row", &[("owner", s("nobody"))]).await;
    let writers: Vec<_> = (0..100)
        .map(|writer| {
            let claim = update(dynamodb, "row", "SET #o = :me")
                .condition_expression("#o = :nobody")
                .expression_attribute_names("#o", "owner")
                .expression_attribute_values(":nobody", s("nobody"))
                .expression_attribute_values(":me", s(&format!("writer-{writer}")));
            tokio::spawn(claim.send())
        })
        .collect();
    let mut winners = Vec::new();
    for (writer, claim) in writers.into_iter().enumerate() {
        match claim.await.unwrap() {
            Ok(_) => winners.push(format!("writer-{writer}")),
            Err(error) => {
                let error = error.into_service_error();
                assert!(error.is_conditional_check_failed_exception(), "{error:?}");
            }
        }
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(get(dynamodb, "row").await.unwrap()["owner"], s(&winners[0]));
}

#[tokio::test]
async fn a_hundred_counters_lose_no_count() {
    let World { dynamodb, .. } = &world().await;
    let counts: Vec<_> = (0..100)
        .map(|_| {
            let add = update(dynamodb, "row", "ADD n :one");
            tokio::spawn(add.expression_attribute_values(":one", n(1)).send())
        })
        .collect();
    for count in counts {
        count.await.unwrap().unwrap();
    }
    assert_eq!(get(dynamodb, "row").await.unwrap()["n"], n(100));
}
