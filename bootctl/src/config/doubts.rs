//! What a config says that can be meant so, and most likely does not work on this machine: a user that is not there, a
//! program, a folder. It is told and keeps nothing from being taken over, because what is missing may come before it is
//! needed.
//!
//! Relative paths are not judged: they may start in a release that is still to come.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use init_wire::Account;
use toml_edit::{Document, Item};

use super::problem::{self, Fault, Problem};
use super::{Config, Settings, app_path, main_file, shown, text};
use crate::app::App;
use crate::name::{AppName, Host, nearest};
use crate::release::Cwd;
use crate::tls::{self, Keyring, Listen, Part, Unfit};

const USERS: &str = "/etc/passwd";
const GROUPS: &str = "/etc/group";

/// One of them. Reads on after the key: "`key` …".
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Doubt {
    #[error("is {name:?}, and there is no such user here; {}", advice(nearest.as_deref()))]
    NoUser { name: String, nearest: Option<String> },
    #[error("names {name:?}, and there is no such group here; {}", advice(nearest.as_deref()))]
    NoGroup { name: String, nearest: Option<String> },
    #[error(
        "is {name:?}, which no folder of its PATH has ({path}); install it, or write its whole path"
    )]
    NoProgram { name: String, path: String },
    #[error("is {}, which is not there; put it there, or name another", .0.display())]
    NoFile(PathBuf),
    #[error("is {}, which nobody may execute; `chmod +x` it, or name another", .0.display())]
    NotExecutable(PathBuf),
    #[error("is {}, which is no folder here; create it, or name another", .0.display())]
    NoFolder(PathBuf),
    #[error("is {}, and its folder is not there; create it, or name another", .0.display())]
    NoFolderOf(PathBuf),
    #[error("{0}")]
    Unfit(Box<Unfit>),
    #[error(
        "says what https clients are shown, and the proxy does not listen for them: it listens on {listen}, so say where \
         with proxy.tls.listen"
    )]
    NoHttps { listen: SocketAddr },
    #[error("wants a certificate, and nobody obtains one: write [acme] in bootctl.toml")]
    NoAcme,
    #[error(
        "is {0}, and no certificate is obtained for that: add \"dns-01\" to acme.challenges of bootctl.toml, or name one \
         with tls.certificate"
    )]
    NoZone(Host),
}

fn advice(nearest: Option<&str>) -> String {
    match nearest {
        Some(name) => format!("did you mean {name:?}?"),
        None => "create it, or name another".to_owned(),
    }
}

/// All of them, file by file.
pub(crate) fn of(folder: &Path, config: &Config) -> Vec<Problem> {
    let accounts = Accounts::read();
    let mut all = Vec::new();
    let proxy = &config.settings.proxy;
    let mut main = vec![
        proxy.user.as_ref().and_then(|user| accounts.user("proxy.user", user)),
        proxy.exec.as_ref().and_then(|exec| program("proxy.exec", exec, None)),
    ];
    let log = Path::new(&proxy.access_log);
    if let Some(parent) = log.parent().filter(|_| log.is_absolute())
        && !parent.is_dir()
    {
        main.push(Some(("proxy.access_log", None, Doubt::NoFolderOf(log.to_owned()))));
    }
    let certificates = of_certificates(config);
    main.extend(certificates.get(&None).into_iter().flatten().cloned().map(Some));
    tell(&main_file(folder), main.into_iter().flatten().collect(), &mut all);
    for app in config.apps.values() {
        let its = certificates.get(&Some(&app.name)).into_iter().flatten().cloned();
        let wants = app.tls.acme == Some(true) && config.settings.acme.is_none();
        let its = its.chain(wants.then_some(("tls.acme", None, Doubt::NoAcme)));
        let its = its.chain(unproved(app, &config.settings));
        let said = of_app(app, &accounts).into_iter().chain(its).collect();
        tell(&app_path(folder, &app.name), said, &mut all);
    }
    all
}

/// What is wrong with the files of certificates, by the app that names them.
fn of_certificates(config: &Config) -> BTreeMap<Option<&AppName>, Vec<Said>> {
    let settings = &config.settings;
    let sources = tls::sources(settings, config.apps.values());
    let ring = Keyring::default().read(sources, settings.proxy.tls.client_ca.as_deref());
    let mut all: BTreeMap<Option<&AppName>, Vec<Said>> = BTreeMap::new();
    if let Some(unfit) = ring.client_ca_unfit() {
        let said = ("proxy.tls.client_ca", None, Doubt::Unfit(unfit.clone().into()));
        all.entry(None).or_default().push(said);
    }
    let proxy = &settings.proxy;
    let is_unheard =
        proxy.tls.address(proxy.listen, true).is_none() && proxy.tls.listen != Listen::Off;
    if is_unheard && settings.acme.is_some() {
        let said = ("acme", None, Doubt::NoHttps { listen: proxy.listen });
        all.entry(None).or_default().push(said);
    }
    for held in ring.held().values() {
        let app = held.source.app.as_ref();
        let app = app.and_then(|name| config.apps.get_key_value(name)).map(|(name, _)| name);
        let said = all.entry(app).or_default();
        let (certificate, key) = match app {
            Some(_) => ("tls.certificate", "tls.key"),
            None => ("proxy.tls.certificate", "proxy.tls.key"),
        };
        for unfit in held.doubts(tls::unix_time()) {
            let key = if unfit.part() == Part::Key { key } else { certificate };
            said.push((key, None, Doubt::Unfit(unfit.into())));
        }
        if is_unheard {
            said.push((certificate, None, Doubt::NoHttps { listen: proxy.listen }));
        }
    }
    all
}

/// A key, which element of its value, and what about it.
type Said = (&'static str, Option<usize>, Doubt);

fn of_app(app: &App, accounts: &Accounts) -> Vec<Said> {
    let mut all = Vec::new();
    all.extend(app.user.as_ref().and_then(|user| accounts.user("user", user)));
    all.extend(app.deploy.owner.as_ref().and_then(|user| accounts.user("deploy.owner", user)));
    all.extend(app.group.as_ref().and_then(|group| accounts.group("group", None, group)));
    for (index, group) in app.confinement.groups.iter().flatten().enumerate() {
        all.extend(accounts.group("groups", Some(index), group));
    }
    if app.deploy.home.exec.is_none() && !app.is_files() {
        all.extend(program("exec", &app.exec, app.env.get("PATH")));
    }
    if let Some(cwd) = app.cwd.as_ref().map(PathBuf::from)
        && app.deploy.home.cwd == Cwd::Absolute
        && !cwd.is_dir()
    {
        all.push(("cwd", None, Doubt::NoFolder(cwd)));
    }
    all
}

/// Hosts that an app would have a certificate for if somebody could show that they are its own.
fn unproved<'a>(app: &'a App, settings: &'a Settings) -> impl Iterator<Item = Said> + 'a {
    let has_files = app.tls.files.is_some() || settings.proxy.tls.files.is_some();
    let acme =
        settings.acme.as_ref().filter(|acme| !has_files && app.tls.acme.unwrap_or(acme.is_for_all));
    let hosts = app.alias.iter().enumerate();
    hosts
        .filter(move |(_, host)| acme.is_some_and(|acme| !acme.can_prove(host.as_str())))
        .map(|(index, host)| ("alias", Some(index), Doubt::NoZone(host.clone())))
}

/// A program by its path, or by its name if it was not found where it is looked for.
fn program(key: &'static str, exec: &str, search: Option<&String>) -> Option<Said> {
    let path = PathBuf::from(exec);
    let doubt = if exec.contains('/') {
        match fs::metadata(&path).ok().filter(Metadata::is_file) {
            None => Doubt::NoFile(path),
            Some(about) if about.permissions().mode() & 0o111 != 0 => return None,
            Some(_) => Doubt::NotExecutable(path),
        }
    } else {
        let search = search?;
        let mut folders = search.split(':').map(Path::new);
        if folders.any(|folder| folder.join(exec).is_file()) {
            return None;
        }
        Doubt::NoProgram { name: exec.to_owned(), path: search.clone() }
    };
    Some((key, None, doubt))
}

/// Who is known here.
struct Accounts {
    users: Vec<String>,
    groups: Vec<String>,
}

impl Accounts {
    fn read() -> Self {
        let names = |path| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let first = text.lines().filter_map(|line| line.split(':').next());
            first.map(str::to_owned).collect()
        };
        Self { users: names(USERS), groups: names(GROUPS) }
    }

    fn user(&self, key: &'static str, user: &Account) -> Option<Said> {
        let (name, nearest) = unknown(user, &self.users)?;
        Some((key, None, Doubt::NoUser { name, nearest }))
    }

    fn group(&self, key: &'static str, index: Option<usize>, group: &Account) -> Option<Said> {
        let (name, nearest) = unknown(group, &self.groups)?;
        Some((key, index, Doubt::NoGroup { name, nearest }))
    }
}

/// A name that is not among the known ones; ids need no name.
fn unknown(account: &Account, known: &[String]) -> Option<(String, Option<String>)> {
    let Account::Name(name) = account else { return None };
    if name.parse::<u32>().is_ok() || known.contains(name) {
        return None;
    }
    let near = nearest(name, known.iter().map(String::as_str)).map(str::to_owned);
    Some((name.clone(), near))
}

/// Puts them in their places.
fn tell(path: &Path, said: Vec<Said>, all: &mut Vec<Problem>) {
    if said.is_empty() {
        return;
    }
    let text = text::read(path).unwrap_or_default();
    let document = Document::parse(text.as_str()).ok();
    for (key, index, doubt) in said {
        let find = |key: &str| {
            let root = document.as_ref()?.as_item();
            key.split('.').try_fold(root, |item: &Item, name| item.get(name))
        };
        // A file of zist's has another name for it.
        let (key, item) = match (find(key), key) {
            (None, "exec") => ("Path", find("Path")),
            (item, _) => (key, item),
        };
        let element = index.and_then(|index| item?.as_array()?.get(index)?.span());
        let place = problem::place(&text, element.or_else(|| item.and_then(Item::span)));
        let (file, key) = (shown(path), Some(key.to_owned()));
        all.push(Problem { file, place, key, fault: Fault::Doubt(doubt) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;

    #[test]
    fn z01_what_is_not_there_is_told_with_its_place() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("apps")).expect("made");
        let file = folder.path().join("plain");
        fs::write(&file, "").expect("written");
        let told = |app: &str, main: &str| {
            fs::write(folder.path().join("apps/a.toml"), app).expect("written");
            fs::write(folder.path().join("bootctl.toml"), main).expect("written");
            let config = load(folder.path()).expect("a folder");
            assert!(config.problems.is_empty(), "{:?}", config.problems);
            let prefix = format!("{}/", folder.path().display());
            let all = of(folder.path(), &config);
            all.iter().map(|doubt| doubt.to_string().replace(&prefix, "")).collect::<Vec<_>>()
        };
        let sound = "exec = \"sh\"\nuser = \"root\"\ngroups = [\"root\"]\ncwd = \"/\"\n";
        assert_eq!(told(sound, ""), [""; 0]);
        assert_eq!(
            told("exec = \"./x\"\ncwd = \"sub\"\nuser = 12345\n", ""),
            [""; 0],
            "later, perhaps"
        );
        let plain = format!(
            "exec = \"{}\"\ncwd = \"/nowhere\"\nuser = \"rooot\"\ngroup = \"x-y-z\"\ngroups = [\"root\", \"u-v-w\"]\n\
             [deploy]\nowner = \"o-p-q\"\n",
            file.display()
        );
        assert_eq!(
            told(
                &plain,
                "[proxy]\nuser = \"q-r-s\"\nexec = \"/nowhere/p\"\naccess_log = \"/nowhere/l\"\n"
            ),
            [
                "bootctl.toml:2:8: `proxy.user` is \"q-r-s\", and there is no such user here; create it, or name \
                 another",
                "bootctl.toml:3:8: `proxy.exec` is /nowhere/p, which is not there; put it there, or name another",
                "bootctl.toml:4:14: `proxy.access_log` is /nowhere/l, and its folder is not there; create it, or name \
                 another",
                "apps/a.toml:3:8: `user` is \"rooot\", and there is no such user here; did you mean \"root\"?",
                "apps/a.toml:7:9: `deploy.owner` is \"o-p-q\", and there is no such user here; create it, or name \
                 another",
                "apps/a.toml:4:9: `group` names \"x-y-z\", and there is no such group here; create it, or name another",
                "apps/a.toml:5:19: `groups` names \"u-v-w\", and there is no such group here; create it, or name \
                 another",
                "apps/a.toml:1:8: `exec` is plain, which nobody may execute; `chmod +x` it, or name another",
                "apps/a.toml:2:7: `cwd` is /nowhere, which is no folder here; create it, or name another",
            ]
        );
        assert_eq!(
            told("exec = \"sh\"\n[tls]\nacme = true\n", "[proxy]\nlisten = \"127.0.0.1:8080\"\n"),
            [
                "apps/a.toml:3:8: `tls.acme` wants a certificate, and nobody obtains one: write [acme] in bootctl.toml",
            ]
        );
        assert_eq!(
            told(sound, "[acme]\nemail = \"a@b.dev\"\n[proxy]\nlisten = \"127.0.0.1:8080\"\n"),
            [
                "bootctl.toml:1:1: `acme` says what https clients are shown, and the proxy does not listen for them: it \
                 listens on 127.0.0.1:8080, so say where with proxy.tls.listen",
            ]
        );
        let main = "[acme]\nemail = \"a@b.dev\"\n[proxy.tls]\nlisten = \"127.0.0.1:8443\"\n";
        let wild = "exec = \"sh\"\nalias = [\"www.a.dev\", \"*.a.dev\"]\n";
        assert_eq!(
            told(wild, main),
            [
                "apps/a.toml:2:23: `alias` is *.a.dev, and no certificate is obtained for that: add \"dns-01\" to \
                 acme.challenges of bootctl.toml, or name one with tls.certificate",
            ]
        );
        let by_zone = main.replace(
            "a@b.dev\"\n",
            "a@b.dev\"\nchallenges = [\"dns-01\"]\ndns.exec = \"/bin/sh\"\n",
        );
        for (app, main) in
            [(wild, by_zone.as_str()), (&format!("{wild}[tls]\nacme = false\n"), main)]
        {
            assert_eq!(told(app, main), [""; 0]);
        }
        assert_eq!(
            told("Path = \"no-such-program\"\n", "")[0].split(" (").next(),
            Some("apps/a.toml:1:8: `Path` is \"no-such-program\", which no folder of its PATH has")
        );
    }
}
