//! Which field of a JSON text an error is about: the parser tells how far it has come, and all that
//! is open there leads to it.

use serde_json::Error;

/// A step from a value down to one inside it.
enum Step {
    /// A field, once its name is read.
    Field(Option<String>),
    /// An item of a list.
    Item(usize),
}

/// The path to the field in `json` that `error` is about, such as `fds[1].listen`; empty for the
/// whole.
pub(super) fn path(json: &[u8], error: &Error) -> String {
    let mut path = String::new();
    for step in open(json.get(..offset(json, error)).unwrap_or(json)) {
        match step {
            Step::Field(Some(name)) if path.is_empty() => path = name,
            Step::Field(Some(name)) => path = format!("{path}.{name}"),
            Step::Field(None) => {}
            Step::Item(number) => path = format!("{path}[{number}]"),
        }
    }
    path
}

/// The bytes that were read when it happened.
fn offset(json: &[u8], error: &Error) -> usize {
    let lines = json.split_inclusive(|byte| *byte == b'\n');
    lines.take(error.line().saturating_sub(1)).map(<[u8]>::len).sum::<usize>() + error.column()
}

/// What is open at the end of `json`, the outermost first.
fn open(json: &[u8]) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut rest = json.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'{' => steps.push(Step::Field(None)),
            b'[' => steps.push(Step::Item(0)),
            b'}' | b']' => drop(steps.pop()),
            b',' => match steps.last_mut() {
                Some(Step::Field(name)) => *name = None,
                Some(Step::Item(number)) => *number += 1,
                None => {}
            },
            b'"' => {
                let text = rest.as_slice();
                let length = text_length(text);
                if let Some(Step::Field(name @ None)) = steps.last_mut() {
                    let text = text.get(..length).unwrap_or_default();
                    *name = Some(String::from_utf8_lossy(text).into_owned());
                }
                // Over the quote at its end, too.
                rest = text.get(length + 1..).unwrap_or_default().iter();
            }
            _ => {}
        }
    }
    steps
}

/// The bytes up to the quote that ends a text.
fn text_length(text: &[u8]) -> usize {
    let mut escaped = false;
    let end = text.iter().position(|byte| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    });
    end.unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use init_wire::JobSpec;

    use super::*;

    fn place(json: &str) -> String {
        let error = serde_json::from_str::<JobSpec>(json).unwrap_err();
        path(json.as_bytes(), &error)
    }

    #[test]
    fn each_error_is_placed() {
        assert_eq!(place(r#"{"exec": 5}"#), "exec");
        assert_eq!(place("{\"args\": [],\n \"exec\": [\"a\"]}"), "exec");
        assert_eq!(place(r#"{"exec": "/x", "args": ["a", "b,\"[", 3]}"#), "args[2]");
        assert_eq!(place(r#"{"exec": "/x", "stop": {"timeout_ms": -1}}"#), "stop.timeout_ms");
        assert_eq!(place(r#"{"exec": "/x", "fds": [{"listen": 1}]}"#), "fds[0].listen");
        assert_eq!(place(r#"{"exec": "/x", "wat": 1}"#), "wat");
        assert_eq!(place(r#"{"exec": "/x", "envs": {"A": {}}}"#), "envs.A");
        assert_eq!(place(r#"{"exec": "/x", "restart": true, "nice": 1}"#), "restart");
    }

    #[test]
    fn what_is_missing_is_missing_in_the_whole() {
        assert_eq!(place("5"), "");
        assert_eq!(place(r#"{"exec": "/x", "fds": [{"name": "a"}]}"#), "fds[0]");
    }

    #[test]
    fn garbage_is_survived() {
        for json in ["", "{", "}]", "\"\\", "{\"a\\", "[1,", "{\"exec\":\"\\u00"] {
            let _ = place(json);
        }
    }
}
