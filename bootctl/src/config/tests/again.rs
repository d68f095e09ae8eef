//! What is taken from an earlier reading of a folder, and what is not.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn is_same(before: &Config, after: &Config, name: &str) -> bool {
    let name = AppName::parse(name).expect("a name");
    let app = |config: &Config| config.apps.get(&name).cloned().expect("it is there");
    Arc::ptr_eq(&app(before), &app(after))
}

fn again(folder: &Path, before: &Config) -> Config {
    let after = load_after(folder, &before.declared).expect("a folder");
    let fresh = load(folder).expect("a folder");
    assert_eq!(
        (&after.apps, &after.broken),
        (&fresh.apps, &fresh.broken),
        "as if for the first time"
    );
    assert_eq!(told(folder, &after), told(folder, &fresh));
    after
}

#[test]
fn z01_a_file_that_says_the_same_is_not_read_key_by_key_again() {
    let (folder, first) = loaded(&[
        ("apps/a.toml", "exec = \"./a\"\nalias = [\"x\"]\n"),
        ("apps/b.toml", "exec = \"b\"\n"),
        ("apps/c.toml", "exec = 1\n"),
    ]);
    let folder = folder.path();
    let second = again(folder, &first);
    assert!(is_same(&first, &second, "a") && is_same(&first, &second, "b"));
    fs::write(folder.join("apps/b.toml"), "exec = \"d\"\n").expect("written");
    let third = again(folder, &second);
    assert!(is_same(&first, &third, "a") && !is_same(&second, &third, "b"));
    // What another file says is heeded all the same.
    fs::write(folder.join("apps/x.toml"), "exec = \"b\"\n").expect("written");
    let fourth = again(folder, &third);
    assert_eq!(told(folder, &fourth).len(), 2, "an alias is an app's name now");
    fs::remove_file(folder.join("apps/x.toml")).expect("removed");
    assert!(is_same(&first, &again(folder, &fourth), "a"));
}

#[test]
fn z01_what_an_app_is_made_of_beside_its_file_is_read_again() {
    let bin = tempfile::tempdir().expect("a folder");
    let path = bin.path().display();
    let own = std::env::current_exe().expect("known");
    let (own, own_folder) = (own.file_name().expect("a name"), own.parent().expect("a folder"));
    let (folder, first) = loaded(&[
        ("apps/page.html", "one"),
        ("apps/a.toml", "exec = \"x\"\n[proxy.error_pages]\n5xx = \"page.html\"\n"),
        ("apps/b.toml", &format!("exec = {own:?}\n[env]\nPATH = \"{path}\"\n")),
        ("apps/c.toml", "exec = \"sub/../c\"\ncwd = \"here\"\n"),
    ]);
    let folder = folder.path();
    fs::write(folder.join("apps/page.html"), "two").expect("written");
    let exec = |config: &Config| {
        let name = AppName::parse("b").expect("a name");
        config.apps.get(&name).map(|app| app.exec.clone())
    };
    assert_eq!(exec(&first), own_folder.join(own).to_str().map(str::to_owned));
    let second = again(folder, &first);
    assert!(!is_same(&first, &second, "a"));
    // The program comes to where PATH leads, and goes again.
    let program = bin.path().join(own);
    fs::write(&program, "").expect("written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("set");
    let third = again(folder, &second);
    assert_eq!(exec(&third).as_deref(), own.to_str());
    assert!(is_same(&third, &again(folder, &third), "b"));
    fs::remove_file(&program).expect("removed");
    assert_eq!(exec(&again(folder, &third)), exec(&first));
    // Relative paths start at the folder that the link leads to.
    let elsewhere = tempfile::tempdir().expect("a folder");
    let link = elsewhere.path().join("link");
    symlink(folder, &link).expect("linked");
    let here = again(&link, &third);
    assert!(is_same(&third, &here, "c"));
    let other = super::folder(&[("apps/c.toml", "exec = \"sub/../c\"\ncwd = \"here\"\n")]);
    fs::remove_file(&link).expect("removed");
    symlink(other.path(), &link).expect("linked");
    assert!(!is_same(&here, &again(&link, &here), "c"));
}
