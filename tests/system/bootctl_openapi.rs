//! The admin API as its document tells it: served, complete, and attacked.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use jobinit_tests::bootctl::said;
use jobinit_tests::remote::Reached;
use jobinit_tests::tools;
use serde_json::{Value, json};

use crate::bootctl_apps::answers;

const CUSTOM: &str = "[custom.laptop]\nexec = \"/bin/echo\"\nargs = [\"hello\"]\n";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Whatever fits the document is answered as the document says, and so is whatever does not.
#[test]
fn openapi_attacked_the_admin_api_stays_with_its_document() {
    let attacker = root().join("target/peers/schemathesis/bin/st");
    if !tools::present(&[attacker.to_str().expect("UTF-8")]) {
        return;
    }
    let reached = Reached::boot_saying(&[("shop.example.toml", &answers(1, ""))], CUSTOM);
    let site = &reached.site;
    site.wait_for("shop.example", "running");
    let token = fs::read_to_string(reached.token("attacker", "control")).expect("written");
    let header = format!("Authorization: Bearer {}", token.trim());
    let (status, served) = reached.curl("127.0.0.1", &["-H", &header], "/openapi.json");
    assert_eq!(status, 200, "{served}");
    let committed = fs::read_to_string(root().join("bootctl/openapi.json")).expect("committed");
    assert!(served == committed, "what is served is what is committed");
    let (supervisor, gate) = (site.supervisor(), site.init.job("gate")["pid"].clone());

    let folder = tempfile::tempdir().expect("a folder");
    let document = folder.path().join("openapi.json");
    fs::write(&document, &served).expect("written");
    let mut attack = Command::new(attacker);
    attack.current_dir(folder.path()).env("SCHEMATHESIS_HOOKS", "hooks").env("NO_COLOR", "1");
    attack.env("PYTHONPATH", root().join("tests/openapi"));
    attack.arg("--config-file").arg(root().join("tests/openapi/schemathesis.toml"));
    attack.args(["run", "--url", &format!("https://{}", reached.address), "-H", &header]);
    let said = said(attack.arg(&document).output().expect("it can be run"));
    assert_eq!(said.code, Some(0), "{}\n{}", said.out, said.err);
    assert!(said.out.contains("Fuzzing"), "{}", said.out);

    assert_eq!(site.supervisor(), supervisor, "neither the supervisor has ended");
    assert_eq!(site.init.job("gate")["pid"], gate, "nor the gate");
    let about: Value = serde_json::from_str(&site.done(&["status", "--json"])).expect("JSON");
    assert!(about["apps"].as_array().is_some_and(|apps| apps.len() == 1), "{about}");
}

/// What init refuses is told by the document, whichever job it is about.
#[test]
fn openapi_tells_whatever_init_refuses() {
    let reached = Reached::boot(&[]);
    let token = fs::read_to_string(reached.token("admin", "control")).expect("written");
    let header = format!("Authorization: Bearer {}", token.trim());
    let init = &reached.site.init;
    init.launch_job("ended", &json!({"exec": "/bin/true"}));
    init.wait_for("ended", "success");
    let document = fs::read_to_string(root().join("bootctl/openapi.json")).expect("committed");
    let document: Value = serde_json::from_str(&document).expect("JSON");
    let mut requests = Vec::new();
    let mut told = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        if !path.starts_with("/init/job/{id}") {
            continue;
        }
        for (method, operation) in methods.as_object().expect("methods") {
            for id in ["ended", "nobody", "init", "%20"] {
                let method = method.to_uppercase();
                let path = path.replace("{id}", id).replace("{signal}", "CONT");
                let words = vec!["-H".to_owned(), header.clone(), "-X".to_owned(), method.clone()];
                requests.push(("127.0.0.1".to_owned(), words, path.clone()));
                told.push((format!("{method} {path}"), operation["responses"].clone()));
            }
        }
    }
    assert!(requests.len() >= 40, "{}", requests.len());
    let requests: Vec<_> = requests
        .iter()
        .map(|(from, words, path)| {
            (from.clone(), words.iter().map(String::as_str).collect(), path.clone())
        })
        .collect();
    for ((asked, responses), status) in told.iter().zip(reached.curl_many(&requests)) {
        assert!(responses.get(status.to_string()).is_some(), "{asked}: {status}");
    }
}
