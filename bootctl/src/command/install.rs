//! `bootctl install`, `bootctl uninstall`

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs, io};

use clap::Args;

use crate::cli::Here;
use crate::install::{self, InstallError, Kind, UninstallError, Wish};

/// Where the host's own programs go.
const PREFIX: &str = "/usr/local";
/// Where an image's do.
const IMAGE_PREFIX: &str = "/usr";

/// Install init, bootctl and proxyd on this host, or into the root of an image
///
/// The programs are those beside this one. Config, state and logs that are there stay as they are; run again, with
/// newer programs, it replaces the old ones. On a host that systemd runs, init becomes a service of it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ./bootctl install                 on this host
  ./bootctl install --image ./root  into a machine's or a container's root folder")]
pub(crate) struct Install {
    /// With a unit for systemd [default: where systemd runs]
    #[arg(long)]
    systemd: bool,

    /// Into this folder, which will be the root of a machine or a container, with init as its init
    #[arg(long, value_name = "DIR")]
    image: Option<PathBuf>,

    /// Where programs, pages and completions go [default: /usr/local, in an image /usr]
    #[arg(long, value_name = "DIR", value_parser = absolute)]
    prefix: Option<PathBuf>,

    /// Replace files that are in the way
    #[arg(long)]
    force: bool,
}

/// Remove what `install` has installed; config, state and logs stay
#[derive(Debug, Args)]
pub(crate) struct Uninstall {
    /// From this folder, instead of from this host
    #[arg(long, value_name = "DIR")]
    image: Option<PathBuf>,

    #[command(flatten)]
    here: Here,
}

pub(super) fn run(install: &Install) -> ExitCode {
    super::tell(try_to(install).map_err(|error| match error {
        Failure::Own(source) => format!("cannot tell where this program is: {source}"),
        Failure::Install(error) => error.to_string(),
    }))
}

enum Failure {
    Own(io::Error),
    Install(InstallError),
}

fn try_to(install: &Install) -> Result<String, Failure> {
    let own = env::current_exe().and_then(fs::canonicalize).map_err(Failure::Own)?;
    let kind = match &install.image {
        Some(_) if !install.systemd => Kind::Image,
        None if !install.systemd && !Path::new("/run/systemd/system").exists() => Kind::Host,
        Some(_) | None => Kind::Systemd,
    };
    let usual = if install.image.is_some() { IMAGE_PREFIX } else { PREFIX };
    let prefix = install.prefix.as_deref().unwrap_or(Path::new(usual));
    let wish = Wish {
        kind,
        prefix: prefix.strip_prefix("/").unwrap_or(prefix).to_owned(),
        programs: own.parent().unwrap_or(Path::new("/")).to_owned(),
        force: install.force,
    };
    let root = install.image.as_deref().unwrap_or(Path::new("/"));
    let paths = install::install(root, &wish).map_err(Failure::Install)?;
    let programs = prefix.join("lib/jobinit");
    Ok(format!("installed {} files and folders{}", paths.len(), next(kind, &programs, install)))
}

/// What to do now.
fn next(kind: Kind, programs: &Path, install: &Install) -> String {
    let programs = programs.display();
    let mut text = match kind {
        Kind::Systemd => "\n\nto start it, now and at each boot:\n  systemctl daemon-reload\n  \
             systemctl enable --now jobinit"
            .to_owned(),
        Kind::Host => format!(
            "\n\nto start it, have your init run:\n  {programs}/init -- {programs}/bootctl boot"
        ),
        Kind::Image => format!(
            "\n\na machine boots into it by the kernel's `init=/sbin/init -- {programs}/bootctl boot`,\n\
             a container by the entrypoint [\"/sbin/init\", \"--\", \"{programs}/bootctl\", \"boot\"]"
        ),
    };
    let theirs = Path::new("/usr/bin/bootctl");
    if install.image.is_none() && theirs.exists() {
        text += "\n\nthis host has another bootctl, systemd's tool for boot loaders, as /usr/bin/bootctl;\n\
                 which one the plain name means is up to PATH";
    }
    text
}

pub(super) fn undo(uninstall: &Uninstall) -> ExitCode {
    let root = uninstall.image.as_deref().unwrap_or(Path::new("/"));
    let socket = uninstall.here.socket();
    if uninstall.image.is_none() && UnixStream::connect(&socket).is_ok() {
        return super::tell(Err(format!(
            "a supervisor answers at {}, so nothing was removed; stop it first, by `systemctl disable \
             --now jobinit` or as you have started it",
            socket.display()
        )));
    }
    let gone = install::uninstall(root).map_err(|error: UninstallError| error.to_string());
    super::tell(gone.map(|gone| {
        format!("removed {} files and folders; config, state and logs are left", gone.len())
    }))
}

fn absolute(text: &str) -> Result<PathBuf, &'static str> {
    let path = PathBuf::from(text);
    let plain =
        path.components().skip(1).all(|part| matches!(part, std::path::Component::Normal(_)));
    (path.is_absolute() && plain && text != "/")
        .then_some(path)
        .ok_or("write an absolute path without `..`, such as /usr/local")
}
