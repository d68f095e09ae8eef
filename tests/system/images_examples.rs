//! The examples for containers' hosts: each is what its host takes, and what it says works when it is done.
//!
//! There is no host here that would take them. So a checker of others reads them, and a runtime runs what they say, in
//! a network of its own.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use jobinit_tests::container::{Bundle, Container, add, bind, tool};
use jobinit_tests::{image, tools, wait};
use serde_json::{Value, json};
use tempfile::TempDir;

/// An app of a user of its own: what root needs capabilities for.
const APP: &str = "exec = \"/demo/demo-hello\"\nuser = \"nobody\"\n[health]\nhttp = \"/healthz\"\n";
const RUNTIME: &str = "crun";

/// A program of the checkers that `tests/install-deps` installs.
fn checker(name: &str) -> PathBuf {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/peers/kubernetes/bin");
    Path::new(folder).join(name)
}

/// Whether what is in the way of these tests is not.
#[track_caller]
fn can_read() -> bool {
    let [python, validate] = ["python", "kubernetes-validate"].map(checker);
    tools::present(&[python.to_str().unwrap(), validate.to_str().unwrap(), "docker-compose"])
}

/// The documents of a file in YAML.
fn read(file: &Path) -> Vec<Value> {
    let script =
        "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let output = Command::new(checker("python")).args(["-c", script]).arg(file).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn is_compose(file: &Path) -> bool {
    let check = Command::new("docker-compose").arg("-f").arg(file).args(["config", "-q"]).output();
    check.unwrap().status.success()
}

fn is_kubernetes(file: &Path) -> bool {
    let check = Command::new(checker("kubernetes-validate")).arg("--strict").arg(file).output();
    check.unwrap().status.success()
}

/// The file with one word of it written wrong.
fn misspelt(file: &Path, word: &str, wrong: &str, folder: &Path) -> PathBuf {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(word), "{word} in {text}");
    let copy = folder.join("misspelt.yaml");
    fs::write(&copy, text.replacen(word, wrong, 1)).unwrap();
    copy
}

fn words(list: &Value) -> Vec<&str> {
    let list = list.as_array().unwrap_or_else(|| panic!("{list} is to be a list"));
    list.iter().map(|word| word.as_str().unwrap()).collect()
}

/// The container's own network, with nothing of this machine's.
fn alone(config: &mut Value) {
    config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "network"}));
}

fn may(config: &mut Value, capabilities: &[&str]) {
    let all: Vec<_> = capabilities.iter().map(|name| format!("CAP_{name}")).collect();
    config["process"]["capabilities"] =
        json!({"bounding": all, "effective": all, "permitted": all});
}

/// Asks until it is so, as a probe does.
#[track_caller]
fn probe(container: &Container, user: &str, command: &[&str]) {
    wait::until_for(wait::PATIENCE * 3, &command.join(" "), || {
        let mut exec = tool(RUNTIME);
        exec.args(["exec", "--user", user, &container.name]).args(command);
        exec.output().unwrap().status.success().then_some(())
    });
}

fn get<'a>(port: &'a str, path: &'a str, host: &'a str) -> [String; 7] {
    let words = ["/demo/busybox", "wget", "-q", "-O-", "--header"].map(str::to_owned);
    let [program, verb, quiet, out, header] = words;
    [
        program,
        verb,
        quiet,
        out,
        header,
        format!("Host: {host}"),
        format!("http://127.0.0.1:{port}{path}"),
    ]
}

/// A volume as Kubernetes makes it: links to links to files.
fn config_map(folder: &Path, data: &Value) {
    let hidden = folder.join("..2026_11_22");
    fs::create_dir_all(&hidden).unwrap();
    symlink("..2026_11_22", folder.join("..data")).unwrap();
    for (name, text) in data.as_object().unwrap() {
        fs::write(hidden.join(name), text.as_str().unwrap()).unwrap();
        symlink(format!("..data/{name}"), folder.join(name)).unwrap();
    }
}

#[test]
fn images_oci_examples_are_what_their_hosts_take() {
    if !can_read() {
        return;
    }
    let folder = TempDir::new().unwrap();
    let [compose, kubernetes] =
        ["compose", "kubernetes"].map(|name| image::path(&format!("oci/examples/{name}.yaml")));
    assert!(is_compose(&compose) && is_kubernetes(&kubernetes));
    assert!(!is_compose(&misspelt(&compose, "healthcheck:", "healthchecks:", folder.path())));
    let wrong = misspelt(&kubernetes, "livenessProbe:", "liveProbe:", folder.path());
    assert!(!is_kubernetes(&wrong));
}

#[test]
fn images_oci_examples_a_pod_is_as_its_probes_want_it() {
    if !can_read() {
        return;
    }
    let Some(bundle) = Bundle::make() else { return };
    let documents = read(&image::path("oci/examples/kubernetes.yaml"));
    let of = |kind: &str, name: &str| {
        let mut all = documents.iter();
        all.find(|one| one["kind"] == kind && one["metadata"]["name"] == name)
            .unwrap_or_else(|| panic!("there is no {kind} {name}"))
    };
    let spec = &of("Pod", "jobinit")["spec"];
    let container = &spec["containers"][0];
    let user = &spec["securityContext"]["runAsUser"];

    let mut config = bundle.hardened();
    alone(&mut config);
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(container["securityContext"]["capabilities"]["drop"], json!(["ALL"]));
    config["process"]["user"] = json!({"uid": user, "gid": spec["securityContext"]["runAsGroup"]});
    // In the place of the image's command, but not of its entrypoint.
    let args = [&["/sbin/init", "--"], &words(&container["args"])[..]].concat();
    config["process"]["args"] = json!(args);
    for env in container["env"].as_array().unwrap() {
        let pair = format!("{}={}", env["name"].as_str().unwrap(), env["value"].as_str().unwrap());
        add(&mut config, "env", &[&pair]);
    }
    let volumes = TempDir::new().unwrap();
    fs::set_permissions(volumes.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut places = Vec::new();
    for mount in container["volumeMounts"].as_array().unwrap() {
        let place = mount["mountPath"].as_str().unwrap();
        let mut all = spec["volumes"].as_array().unwrap().iter();
        let volume = all.find(|volume| volume["name"] == mount["name"]).unwrap();
        if let Some(name) = volume["configMap"]["name"].as_str() {
            let folder = volumes.path().join(name);
            config_map(&folder, &of("ConfigMap", name)["data"]);
            bind(&mut config, place, &folder);
        } else {
            places.push(place);
        }
    }
    // Those that are writable by the bundle's own rules, and no others.
    places.sort_unstable();
    assert_eq!(places, ["/run", "/tmp", "/var/lib/bootctl", "/var/log/bootctl"]);

    let pod = bundle.run(RUNTIME, &config);
    let user = user.to_string();
    for name in ["startupProbe", "livenessProbe"] {
        probe(&pod, &user, &words(&container[name]["exec"]["command"]));
    }
    let ready = &container["readinessProbe"]["httpGet"];
    assert_eq!(ready["port"], container["ports"][0]["containerPort"]);
    assert_eq!(ready["httpHeaders"][0]["name"], "Host");
    let (port, host) = (ready["port"].to_string(), ready["httpHeaders"][0]["value"].as_str());
    let get = get(&port, ready["path"].as_str().unwrap(), host.unwrap());
    probe(&pod, &user, &get.each_ref().map(String::as_str));
    pod.kill("TERM");
    let (code, said) = pod.wait();
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn images_oci_examples_of_compose_and_podman_have_the_rights_that_they_need() {
    if !can_read() {
        return;
    }
    let Some(bundle) = Bundle::make() else { return };
    let compose = &read(&image::path("oci/examples/compose.yaml"))[0]["services"]["web"];
    let podman = fs::read_to_string(image::path("oci/examples/podman")).unwrap();
    let capabilities = words(&compose["cap_add"]);
    let health = words(&compose["healthcheck"]["test"]);
    assert_eq!(compose["cap_drop"], json!(["ALL"]));
    assert_eq!((health[0], compose["read_only"].as_bool()), ("CMD", Some(true)));
    // The two say the same.
    for said in [
        format!("--cap-drop ALL --cap-add {}", capabilities.join(",")),
        format!("--health-cmd \"{}\"", health[1..].join(" ")),
        "--read-only --tmpfs /run --tmpfs /tmp".to_owned(),
        "--publish 127.0.0.1:8080:80".to_owned(),
    ] {
        assert!(podman.contains(&said), "{said} in {podman}");
    }
    assert_eq!(compose["tmpfs"], json!(["/run", "/tmp"]));
    assert_eq!(compose["ports"], json!(["8080:80"]));

    let apps = TempDir::new().unwrap();
    fs::set_permissions(apps.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(apps.path().join("hello.localhost.toml"), APP).unwrap();
    let mut config = bundle.hardened();
    alone(&mut config);
    may(&mut config, &capabilities);
    config["process"]["user"] = json!({"uid": 0, "gid": 0});
    for mount in config["mounts"].as_array_mut().unwrap() {
        // A tmpfs, and a volume, are root's there.
        if let Some(options) = mount["options"].as_array_mut() {
            options.retain(|option| {
                !["uid=65534", "gid=65534", "mode=700"].iter().any(|of| option == of)
            });
        }
    }
    bind(&mut config, "/etc/bootctl/apps", apps.path());
    let container = bundle.run(RUNTIME, &config);
    probe(&container, "0", &health[1..]);
    let get = get("80", "/", "hello.localhost");
    probe(&container, "0", &get.each_ref().map(String::as_str));
    // The app is somebody else's, and is ended all the same.
    probe(&container, "0", &["bootctl", "restart", "hello.localhost"]);
    container.kill("TERM");
    let (code, said) = container.wait();
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("did not") && !said.contains("ERROR"), "{said}");
}
