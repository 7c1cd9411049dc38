//! What ARCHITECTURE.md states that each function is given - memory, time, network, disk, how long a message is hidden - and how
//! long the API waits for it. The page's table is read: no number of it may stand here again.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::api::{INTEGRATION, METHOD, definition};
use super::check;
use super::data::same;
use super::document::{Template, root, text};
use super::functions::binary_of;

/// The head of the page's table.
const HEAD: &str = "| function | memory MB | timeout s | VPC | why |\n|---|---|---|---|---|\n";
/// The line that tells the API's own deadline.
const API: &str = "API Gateway";
/// MB on the disk of who puts together a batch of recordings from checkpoints: ten messages, two hours of two channels of
/// 8,000 samples a second each.
const RECORDINGS_MB: u64 = 10 * 7200 * 2 * 8000 * 2 / 1_000_000;

fn page() -> String {
    std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap()
}

/// The lines of the page's table.
fn rows(page: &str) -> Vec<&str> {
    let (_, table) = page.split_once(HEAD).expect("ARCHITECTURE.md has the table of functions");
    table.lines().take_while(|line| line.starts_with('|')).collect()
}

fn cells(row: &str) -> [&str; 5] {
    let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
    cells.try_into().unwrap_or_else(|_| panic!("not five cells: {row}"))
}

/// What one line of the table says; null is what it says nothing of.
struct Stated {
    memory: Value,
    timeout: Value,
    in_vpc: bool,
    disk: Value,
    visibility: Value,
}

impl Stated {
    fn of([_, memory, timeout, vpc, why]: [&str; 5]) -> Self {
        let number = |cell: &str| if cell == "–" { Value::Null } else { json!(cell.parse::<u64>().unwrap()) };
        Self {
            memory: number(memory),
            timeout: number(timeout),
            in_vpc: yes(vpc),
            disk: json!(number_after(why, "disk ")),
            visibility: json!(number_after(why, "visibility ")),
        }
    }
}

fn yes(cell: &str) -> bool {
    match cell {
        "yes" => true,
        "no" | "–" => false,
        other => panic!("`{other}` is no yes and no no"),
    }
}

/// The number that stands behind `word`.
fn number_after(why: &str, word: &str) -> Option<u64> {
    let (_, rest) = why.split_once(word)?;
    Some(rest.split(' ').next()?.parse().unwrap())
}

/// For how long the queue that a function takes messages from hides one.
fn visibility(template: &Template, function: &str) -> Value {
    let sources = template.of("AWS::Lambda::EventSourceMapping");
    let Some((_, source)) = sources.iter().find(|(_, source)| source["FunctionName"] == format!("<{function}>")) else {
        return Value::Null;
    };
    let queue = text(&source["EventSourceArn"]).trim_start_matches('<').trim_end_matches(".Arn>");
    template.properties(queue)["VisibilityTimeout"].clone()
}

/// Where the template and a page differ.
fn differences(template: &Template, page: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let rows = rows(page);
    let mut stated: BTreeMap<&str, Stated> =
        rows.iter().map(|row| cells(row)).map(|cells| (cells[0].trim_matches('`'), Stated::of(cells))).collect();
    if stated.len() != rows.len() {
        faults.push("a function has two lines on the page".to_owned());
    }
    let network = json!({
        "SubnetIds": ["<PrivateSubnetA>", "<PrivateSubnetB>"], "SecurityGroupIds": ["<LambdaSecurityGroup>"],
    });
    for (id, function) in template.of("AWS::Serverless::Function") {
        let binary = binary_of(template, id);
        let Some(line) = stated.remove(binary.as_str()) else {
            faults.push(format!("{binary} has no line on the page"));
            continue;
        };
        let disk = &function["EphemeralStorage"]["Size"];
        let network = if line.in_vpc { &network } else { &Value::Null };
        let mut is = |what: &str, found: &Value, wanted: &Value| {
            same(&mut faults, &format!("{what} of {binary}"), found, wanted);
        };
        is("memory", &function["MemorySize"], &line.memory);
        is("timeout", &function["Timeout"], &line.timeout);
        is("network", function.get("VpcConfig").unwrap_or(&Value::Null), network);
        is("disk", disk, &line.disk);
        is("visibility", &visibility(template, id), &line.visibility);
        let disk = disk.as_u64().unwrap_or(512);
        if ["analyze", "push"].contains(&binary.as_str()) && disk < RECORDINGS_MB {
            faults.push(format!("{binary} has {disk} MB for recordings of {RECORDINGS_MB}"));
        }
    }
    match stated.remove(API) {
        None => faults.push(format!("{API} has no line on the page")),
        Some(line) => {
            let deadline = json!(line.timeout.as_u64().map(|seconds| 1000 * seconds));
            for (route, item) in definition(template)["paths"].as_object().unwrap() {
                let found = &item[METHOD][INTEGRATION]["timeoutInMillis"];
                same(&mut faults, &format!("the deadline of {API} for {route}"), found, &deadline);
            }
        }
    }
    faults.extend(stated.into_keys().map(|name| format!("{name} has a line on the page, and is deployed nowhere")));
    faults
}

fn limits(template: &Template) -> Vec<String> {
    differences(template, &page())
}

#[test]
fn memory_time_and_network_of_each_function_are_as_stated() {
    let in_vpc = json!({"SubnetIds": ["<PrivateSubnetA>"], "SecurityGroupIds": ["<LambdaSecurityGroup>"]});
    let health = format!("/Resources/Api/Properties/DefinitionBody/paths/~1health/{METHOD}/{INTEGRATION}");
    check(
        limits,
        &[
            ("/Resources/PushFunction/Properties/MemorySize", json!(128), "memory of push"),
            ("/Resources/DialoutFunction/Properties/Timeout", json!(5), "timeout of dialout"),
            ("/Resources/DialoutFunction/Properties/Timeout", Value::Null, "timeout of dialout"),
            ("/Resources/PushFunction/Properties/EphemeralStorage", Value::Null, "push has 512 MB for recordings"),
            ("/Resources/SweepFunction/Properties/EphemeralStorage", json!({"Size": 1024}), "disk of sweep"),
            ("/Resources/PushFunction/Properties/VpcConfig", in_vpc, "network of push"),
            ("/Resources/ReapFunction/Properties/VpcConfig", Value::Null, "network of reap"),
            ("/Resources/DeliveriesQueue/Properties/VisibilityTimeout", json!(60), "visibility of push"),
            ("/Resources/RetainFunction", Value::Null, "retain has a line on the page"),
            (&format!("{health}/timeoutInMillis"), json!(50), "the deadline of API Gateway for /health"),
        ],
    );
}

#[test]
fn a_page_that_says_something_else_is_found() {
    let (template, page) = (super::template(), page());
    let differs = |page: &str, word: &str| {
        let faults = differences(&template, page);
        assert!(faults.iter().any(|fault| fault.contains(word)), "{word} is not among {faults:?}");
    };
    for row in rows(&page) {
        let read = cells(row);
        let name = read[0].trim_matches('`');
        differs(&page.replace(&format!("{row}\n"), ""), name);
        differs(&page.replace(row, &format!("{row}\n{row}")), "two lines");
        for (place, cell) in read.iter().enumerate().skip(1).take(3) {
            let other = match *cell {
                "–" => continue,
                "yes" => "no".to_owned(),
                "no" => "yes".to_owned(),
                number => format!("{number}0"),
            };
            let mut changed = read;
            changed[place] = &other;
            differs(&page.replace(row, &format!("| {} |", changed.join(" | "))), name);
        }
    }
    differs(&page.replace(HEAD, &format!("{HEAD}| `ghost` | 256 | 5 | no | nobody |\n")), "ghost");
    for word in ["disk", "visibility"] {
        for function in ["analyze", "push"] {
            differs(&page.replace(&format!("{word} "), &format!("{word} 1")), &format!("{word} of {function}"));
        }
    }
}
