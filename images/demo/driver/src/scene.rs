//! What the demo is made of: the programs, the config, and a folder for what it leaves nowhere
//! else.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::{env, io};

use nix::unistd::geteuid;
use tempfile::TempDir;

/// The app that needs more than this workspace.
const NODE: &str = "node.localhost";
/// What runs in the demo and is built here.
const PROGRAMS: [&str; 4] = ["init", "bootctl", "proxyd", "demo-hello"];
/// Where bootctl looks for an app's program.
const STANDARD_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The programs and folders of one run.
pub(crate) struct Scene {
    /// Where `init`, `bootctl` and `proxyd` are.
    pub(crate) bin: PathBuf,
    /// Where they are run from: started by root, some run as nobody, who may not see the former.
    pub(crate) runs_from: PathBuf,
    /// bootctl's config folder.
    pub(crate) config: PathBuf,
    /// The apps that will be started.
    pub(crate) apps: BTreeSet<String>,
    /// All that the demo writes.
    pub(crate) scratch: TempDir,
}

impl Scene {
    /// Finds the programs and prepares the folders.
    pub(crate) fn set() -> Result<Self, String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
        let root = root.canonicalize().map_err(|e| format!("{}: {e}", root.display()))?;
        let bin = env::var_os("JOBINIT_BIN").map_or_else(|| root.join("target/bin"), PathBuf::from);
        for program in PROGRAMS {
            if !bin.join(program).is_file() {
                return Err(format!("no {program} in {}: run `make build` first", bin.display()));
            }
        }
        let readable = fs::Permissions::from_mode(0o755);
        let scratch =
            tempfile::Builder::new().prefix("jobinit-demo.").permissions(readable).tempdir();
        let scratch = scratch.map_err(|e| format!("cannot make a temporary folder: {e}"))?;
        let runs_from = if geteuid().is_root() {
            let copies = scratch.path().join("bin");
            copy_programs(&bin, &copies).map_err(|e| format!("{}: {e}", copies.display()))?;
            copies
        } else {
            bin.clone()
        };
        let demo = root.join("images/demo");
        let config = if is_in(STANDARD_PATH.as_ref(), "node") {
            demo
        } else {
            let what = if is_in(&env::var_os("PATH").unwrap_or_default(), "node") {
                "only outside of the standard path, where apps are not looked for"
            } else {
                "not"
            };
            eprintln!("\n*** node is {what} on this machine: the demo leaves {NODE} out ***\n");
            let copy = scratch.path().join("config");
            copy_without_node(&demo, &copy).map_err(|e| format!("{}: {e}", copy.display()))?;
            copy
        };
        let apps = apps(&config).map_err(|e| format!("{}: {e}", config.display()))?;
        Ok(Self { bin, runs_from, config, apps, scratch })
    }

    /// Where bootctl keeps its sockets.
    pub(crate) fn run_dir(&self) -> PathBuf {
        self.scratch.path().join("run")
    }

    /// Where bootctl keeps what outlives it.
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.scratch.path().join("state")
    }

    /// Where what apps write is collected.
    pub(crate) fn log_dir(&self) -> PathBuf {
        self.scratch.path().join("log")
    }
}

/// Whether a program of that name is in one of the path's folders.
fn is_in(path: &OsStr, name: &str) -> bool {
    env::split_paths(path).any(|folder| folder.join(name).is_file())
}

fn copy_programs(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    PROGRAMS.iter().try_for_each(|name| fs::copy(from.join(name), to.join(name)).map(drop))
}

fn apps(config: &Path) -> io::Result<BTreeSet<String>> {
    let files = fs::read_dir(config.join("apps"))?;
    let names = files.filter_map(|file| {
        let name = file.ok()?.file_name().into_string().ok()?;
        Some(name.strip_suffix(".toml")?.to_owned())
    });
    Ok(names.collect())
}

fn copy_without_node(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to.join("apps"))?;
    fs::copy(from.join("bootctl.toml"), to.join("bootctl.toml"))?;
    for release in ["blue", "green"].map(|name| format!("releases/{name}")) {
        fs::create_dir_all(to.join(&release))?;
        let file = format!("{release}/greeting");
        fs::copy(from.join(&file), to.join(&file))?;
    }
    for app in apps(from)?.iter().filter(|app| *app != NODE) {
        let file = format!("apps/{app}.toml");
        fs::copy(from.join(&file), to.join(&file))?;
    }
    Ok(())
}
