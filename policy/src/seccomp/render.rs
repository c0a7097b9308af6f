//! A policy as a profile.

use serde_json::{Map, Value, json};

use super::{Rule, SeccompPolicy, Verdict};
use crate::capabilities::names_in_order;

impl SeccompPolicy {
    /// The JSON form, one line a rule; parsing it gives an equal policy, but for the lines.
    #[must_use]
    pub fn render(&self) -> String {
        let mut fields = Map::new();
        verdict(&mut fields, "defaultAction", "defaultErrnoRet", self.default);
        let lists = [
            ("architectures", json!(self.architectures)),
            ("flags", json!(self.flags)),
        ];
        for (name, list) in lists {
            if list.as_array().is_some_and(|list| !list.is_empty()) {
                fields.insert(name.to_owned(), list);
            }
        }
        if let Some(path) = &self.listener_path {
            fields.insert("listenerPath".to_owned(), json!(path));
        }
        if let Some(metadata) = &self.listener_metadata {
            fields.insert("listenerMetadata".to_owned(), json!(metadata));
        }
        let mut text = String::from("{\n");
        for (name, value) in &fields {
            text.push_str(&format!("  {}: {value},\n", json!(name)));
        }
        let rules: Vec<String> = self.rules.iter().map(|it| format!("    {}", rule(it))).collect();
        text.push_str(&format!("  \"syscalls\": [\n{}\n  ]\n}}\n", rules.join(",\n")));
        text
    }
}

fn verdict(fields: &mut Map<String, Value>, action: &str, errno: &str, verdict: Verdict) {
    fields.insert(action.to_owned(), json!(verdict.action));
    if let Some(number) = verdict.errno {
        fields.insert(errno.to_owned(), json!(number));
    }
}

fn rule(rule: &Rule) -> Value {
    let mut fields = Map::new();
    fields.insert("names".to_owned(), json!(rule.names));
    verdict(&mut fields, "action", "errnoRet", rule.verdict);
    if !rule.args.is_empty() {
        fields.insert("args".to_owned(), json!(rule.args));
    }
    for (name, capabilities) in [
        ("includes", &rule.guard.includes),
        ("excludes", &rule.guard.excludes),
    ] {
        if !capabilities.is_empty() {
            fields.insert(name.to_owned(), json!({"caps": names_in_order(capabilities)}));
        }
    }
    if !rule.comment.is_empty() {
        fields.insert("comment".to_owned(), json!(rule.comment));
    }
    Value::Object(fields)
}
