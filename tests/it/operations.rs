//! What the operations page says is so: its sums are what their factors say, and what it names is in the templates.

use std::collections::BTreeSet;
use std::path::Path;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(ROOT).join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The cells of the rows of every table whose head begins with `head`.
fn rows(page: &str, head: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let mut lines = page.lines();
    let mut rows = Vec::new();
    while let Some(line) = lines.next() {
        if line.starts_with(&format!("| {head}")) {
            let table = lines.by_ref().take_while(|line| line.starts_with('|'));
            rows.extend(table.skip(1).map(cells));
        }
    }
    rows
}

fn number(text: &str) -> f64 {
    let digits = text.replace([',', '*'], "");
    digits.parse().unwrap_or_else(|_| panic!("`{text}` is no number"))
}

/// Half of the last digit that is written.
fn rounding(text: &str) -> f64 {
    let decimals = text.trim_matches('*').split_once('.').map_or(0, |(_, decimals)| decimals.len());
    0.5 * 10_f64.powi(-i32::try_from(decimals).unwrap()) + 1e-9
}

#[test]
fn the_costs_are_what_their_factors_say() {
    let page = read("infra/README.md");
    let mut together = Vec::new();
    for table in ["a thousand calls |", "a server and month |", "a deployment and month |"] {
        let rows = rows(&page, table);
        assert!(rows.len() > 5, "{table} has {} rows", rows.len());
        let (sum, lines) = rows.split_last().unwrap();
        for line in lines {
            let [what, quantity, price, cost] = &line[..] else { panic!("{line:?}") };
            let product = number(quantity) * number(price);
            assert!((product - number(cost)).abs() <= rounding(cost), "{what}: {product} and not {cost}");
        }
        let added: f64 = lines.iter().map(|line| number(&line[3])).sum();
        assert!((added - number(&sum[3])).abs() < 1e-6, "{table} {added} and not {}", sum[3]);
        together.push(added);
    }
    let example = (100.0 * together[0] + 2.0 * together[1] + together[2]).round();
    assert!(page.contains(&format!("= ${example}.")), "the example costs ${example}");
}

/// The names at the first level below a member of a template.
fn members(template: &str, section: &str) -> BTreeSet<String> {
    let mut lines = template.lines().skip_while(|line| *line != format!("{section}:")).skip(1);
    let within = lines.by_ref().take_while(|line| line.is_empty() || line.starts_with([' ', '#']));
    let named = within.filter(|line| line.starts_with("  ") && !line.starts_with("   ") && !line.starts_with("  #"));
    named.filter_map(|line| Some(line.trim().split_once(':')?.0.to_owned())).collect()
}

/// The words in backticks of a text.
fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn what_the_page_names_is_in_the_templates() {
    let (page, control, fleet) = (read("infra/README.md"), read("template.yaml"), read("infra/fleet.yaml"));
    let parameters: BTreeSet<String> = [&control, &fleet].iter().flat_map(|text| members(text, "Parameters")).collect();
    let outputs: BTreeSet<String> = [&control, &fleet].iter().flat_map(|text| members(text, "Outputs")).collect();
    assert!(parameters.len() > 40 && outputs.len() > 15, "{} and {}", parameters.len(), outputs.len());
    for row in rows(&page, "parameter |") {
        for name in quoted(&row[0]) {
            assert!(parameters.contains(&name), "there is no parameter {name}");
        }
    }
    for (name, _) in
        page.match_indices("=...").filter_map(|(at, _)| page[..at].rsplit([' ', '\n']).next().map(|n| (n, at)))
    {
        assert!(parameters.contains(name), "there is no parameter {name}");
    }
    for name in ["ApiUrl", "AlarmTopicArn", "DashboardUrl", "WsUrl"] {
        assert!(outputs.contains(name) && page.contains(&format!("`{name}`")), "{name}");
    }

    let named: BTreeSet<String> = rows(&page, "alarm |").iter().flat_map(|row| quoted(&row[0])).collect();
    let of_control = control.lines().filter_map(|line| line.trim().strip_prefix("AlarmName: !Sub ${AWS::StackName}-"));
    let of_control: BTreeSet<String> = of_control.map(str::to_owned).collect();
    let resources = members(&fleet, "Resources");
    let of_fleet: BTreeSet<String> = resources.into_iter().filter(|name| name.ends_with("Alarm")).collect();
    assert!(of_control.len() > 10, "{of_control:?}");
    assert_eq!(named, of_control.union(&of_fleet).cloned().collect(), "the page explains every alarm and no other");
}
