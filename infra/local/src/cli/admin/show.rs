//! Answers of the API as text for people: a list as a table, an entity as one line a member.
//! It must never pass a control character on to a terminal: names and transcripts are other people's texts.

use serde_json::Value;

/// Widest cell of a table, characters.
const CELL_MAX: usize = 60;

/// Rows below their headings, in columns as wide as their widest cell.
pub(super) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| short(cell)).collect()).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([headings[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> = cells.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(headings.to_vec())];
    lines.extend(rows.iter().map(|row| line(row.iter().map(String::as_str).collect())));
    lines.join("\n")
}

/// Every member with its path, one a line; empty ones are left out.
pub(super) fn members(value: &Value) -> String {
    let mut rows = Vec::new();
    flatten(value, &mut String::new(), &mut rows);
    let width = rows.iter().map(|(path, _)| path.chars().count()).max().unwrap_or(0);
    let lines: Vec<String> = rows.iter().map(|(path, text)| format!("{path:width$}  {text}")).collect();
    lines.join("\n")
}

fn flatten(value: &Value, path: &mut String, rows: &mut Vec<(String, String)>) {
    let length = path.len();
    let mut inside = |name: &str, value: &Value| {
        if length > 0 {
            path.push('.');
        }
        path.push_str(name);
        flatten(value, path, rows);
        path.truncate(length);
    };
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| inside(name, value)),
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            items.iter().enumerate().for_each(|(index, item)| inside(&index.to_string(), item));
        }
        other => {
            let text = cell(other);
            if !text.is_empty() {
                rows.push((printable(path), printable(&text)));
            }
        }
    }
}

/// A value in one cell: texts bare, lists with spaces, null and nothing empty.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(" "),
        Value::Object(members) => {
            let pairs: Vec<String> = members.iter().map(|(name, value)| format!("{name}:{}", cell(value))).collect();
            pairs.join(" ")
        }
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// The rows of a list: the named members of each item.
pub(super) fn rows(list: &Value, columns: &[&str]) -> Vec<Vec<String>> {
    let items = list["items"].as_array().into_iter().flatten();
    items.map(|item| columns.iter().map(|column| cell(&item[*column])).collect()).collect()
}

fn short(text: &str) -> String {
    let text = printable(text);
    if text.chars().count() <= CELL_MAX {
        return text;
    }
    let kept: String = text.chars().take(CELL_MAX - 1).collect();
    format!("{kept}…")
}

fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let list = json!({"items": [
            {"id": "a", "name": "Asha's bot", "numbers": ["+91", "+92"], "free": 2},
            {"id": "longer", "name": "x\u{1b}[31m\ny", "numbers": [], "free": null},
        ]});
        let rows = rows(&list, &["id", "name", "free", "numbers"]);
        assert_eq!(
            table(&["ID", "NAME", "FREE", "NUMBERS"], &rows),
            "ID      NAME        FREE  NUMBERS\na       Asha's bot  2     +91 +92\nlonger  x [31m y"
        );
        assert_eq!(table(&["ID"], &[]), "ID");
        let long = table(&["X"], &[vec!["é".repeat(100)]]);
        assert_eq!(long.lines().nth(1).unwrap().chars().count(), CELL_MAX);
    }

    #[test]
    fn members_have_their_path() {
        let bot = json!({"bot_id": "b", "push": {"url": "u", "token": "***"}, "numbers": ["1", "2"], "webhook": null,
            "llm": {"providers": [{"vendor": "script"}]}, "empty": [], "text": "a\nb"});
        assert_eq!(
            members(&bot),
            "bot_id                  b\npush.url                u\npush.token              ***\n\
             numbers                 1 2\nllm.providers.0.vendor  script\ntext                    a b"
        );
    }
}
