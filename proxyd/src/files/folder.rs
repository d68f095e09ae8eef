//! A folder that is served, and its files as they are opened.
//!
//! Each request opens the folder anew, so a link in its place can be turned to another release at any moment. Opening and
//! reading happen on the worker's own thread: what is read is nearly always in memory, and handing it to another thread
//! would cost more than the read.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;

use proxyd_wire as wire;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;
use thiserror::Error;

use super::kind;
use super::place::Place;
use super::validator::Validator;
use crate::compression::{Accepted, Coding, Types};
use crate::limits;

/// How often a name is looked for while somebody moves folders around.
const TRIES: usize = 8;

/// As a route has it.
#[derive(Debug)]
pub(crate) struct Folder {
    path: String,
    index: String,
    fallback: Option<Place>,
    not_found: Option<Place>,
    /// Of which there may be another form beside them.
    packed: Types,
}

/// What cannot be served.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum NotAFolder {
    #[error("files.folder is `{0}`: write an absolute path")]
    Path(String),
    #[error("files.index is `{0}`: write the name of a file, such as index.html")]
    Index(String),
    #[error("files.{0} is `{1}`: write a path below the folder, such as /index.html")]
    Page(&'static str, String),
}

impl NotAFolder {
    pub(crate) fn key(&self) -> &'static str {
        match self {
            NotAFolder::Path(_) => "folder",
            NotAFolder::Index(_) => "index",
            NotAFolder::Page(key, _) => key,
        }
    }
}

/// What is in a place.
#[derive(Debug)]
pub(crate) enum Found {
    File(Box<Opened>),
    /// A folder, which has to be asked for as one.
    Folder,
}

/// A file that can be read.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) file: File,
    pub(crate) size: u64,
    pub(crate) validator: Validator,
    pub(crate) kind: &'static str,
    /// Which form of it this is.
    pub(crate) coding: Option<Coding>,
    /// There may be other forms of it.
    pub(crate) varies: bool,
}

/// Why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    NotThere,
    Forbidden,
    /// There is no descriptor left for it.
    Exhausted,
    Unreadable,
}

impl From<Errno> for Missing {
    fn from(error: Errno) -> Missing {
        match error {
            // A link that leads out of the folder, one in a circle, a socket, a name that no file can have.
            Errno::NOENT
            | Errno::NOTDIR
            | Errno::XDEV
            | Errno::LOOP
            | Errno::NXIO
            | Errno::NODEV
            | Errno::NAMETOOLONG
            | Errno::INVAL
            | Errno::ILSEQ => Missing::NotThere,
            Errno::ACCESS | Errno::PERM => Missing::Forbidden,
            Errno::MFILE | Errno::NFILE | Errno::NOMEM => Missing::Exhausted,
            _ => Missing::Unreadable,
        }
    }
}

impl From<io::Error> for Missing {
    fn from(error: io::Error) -> Missing {
        Errno::from_io_error(&error).map_or(Missing::Unreadable, Missing::from)
    }
}

impl Folder {
    pub(crate) fn new(wire: &wire::Files) -> Result<Folder, Vec<NotAFolder>> {
        let shown = |text: &str| text.chars().take(200).collect::<String>();
        let mut wrong = Vec::new();
        let (path, index) = (wire.folder.clone(), wire.index.clone());
        if !path.starts_with('/') || path.contains('\0') || path.len() > limits::FILE_NAME {
            wrong.push(NotAFolder::Path(shown(&path)));
        }
        if index.is_empty() || index.starts_with('.') || index.contains(['/', '\0']) {
            wrong.push(NotAFolder::Index(shown(&index)));
        }
        let mut page = |key, path: &Option<String>| {
            let path = path.as_ref()?;
            let place = Place::of_setting(path);
            if place.is_none() {
                wrong.push(NotAFolder::Page(key, shown(path)));
            }
            place
        };
        let fallback = page("fallback", &wire.fallback);
        let not_found = page("not_found", &wire.not_found);
        let packed = Types::usual();
        if wrong.is_empty() {
            Ok(Folder { path, index, fallback, not_found, packed })
        } else {
            Err(wrong)
        }
    }

    /// What there is in a place, in the form that is accepted best.
    pub(crate) fn find(&self, place: &Place, accepted: Accepted) -> Result<Found, Missing> {
        let root = self.open()?;
        let name = match (place.is_open, place.name.is_empty()) {
            (false, true) => b".".to_vec(),
            (false, false) => place.name.clone(),
            (true, true) => self.index.clone().into_bytes(),
            (true, false) => [&place.name, &b"/"[..], self.index.as_bytes()].concat(),
        };
        let (file, about) = look(&root, &name)?;
        if about.is_dir() {
            // What is shown of a folder is a file.
            return if place.is_open { Err(Missing::NotThere) } else { Ok(Found::Folder) };
        }
        if !about.is_file() {
            return Err(Missing::NotThere);
        }
        Ok(Found::File(Box::new(self.form(&root, &name, (file, about), accepted))))
    }

    /// What is shown in place of what is not there, and with which status.
    pub(crate) fn instead(&self, accepted: Accepted) -> Option<(u16, Box<Opened>)> {
        let pages = [(200, &self.fallback), (404, &self.not_found)];
        pages.into_iter().find_map(|(status, place)| match self.find(place.as_ref()?, accepted) {
            Ok(Found::File(opened)) => Some((status, opened)),
            Ok(Found::Folder) | Err(_) => None,
        })
    }

    fn open(&self) -> Result<OwnedFd, Missing> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(openat(CWD, self.path.as_str(), flags, Mode::empty())?)
    }

    /// Another form of a file, if there is one that fits it and is accepted; else the file.
    fn form(
        &self,
        root: &OwnedFd,
        name: &[u8],
        (file, about): (File, Metadata),
        accepted: Accepted,
    ) -> Opened {
        let kind = kind::of(name);
        let varies = self.packed.has(kind.as_bytes());
        let opened = |(file, about): (File, Metadata), coding| {
            let changed = (about.mtime(), about.mtime_nsec());
            let validator = Validator::new(changed, about.size(), about.ino());
            Opened { file, size: about.size(), validator, kind, coding, varies }
        };
        let codings = accepted.ranked().filter(|_| varies);
        for coding in codings {
            let name = [name, coding.ending().as_bytes()].concat();
            // One that was left behind when its file was changed would show what was.
            if let Ok((form, of_form)) = look(root, &name)
                && of_form.is_file()
                && of_form.mtime() >= about.mtime()
            {
                return opened((form, of_form), Some(coding));
            }
        }
        opened((file, about), None)
    }
}

/// Opens what is below the folder, wherever links lead, and nothing that is not. Neither a pipe nor a device is
/// waited for.
fn look(root: &OwnedFd, name: &[u8]) -> Result<(File, Metadata), Missing> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let mut tries = TRIES;
    let fd = loop {
        match openat2(root, name, flags, Mode::empty(), beneath) {
            Err(Errno::AGAIN | Errno::INTR) if tries > 0 => tries -= 1,
            opened => break opened?,
        }
    };
    let file = File::from(fd);
    let about = file.metadata()?;
    Ok((file, about))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::{Duration, SystemTime};

    use super::*;

    fn with_folder(test: impl FnOnce(&std::path::Path, &Folder)) {
        let around = tempfile::tempdir().unwrap();
        let path = around.path().join("site");
        fs::create_dir_all(path.join("sub")).unwrap();
        fs::write(around.path().join("secret"), "secret").unwrap();
        fs::write(path.join("index.html"), "home").unwrap();
        fs::write(path.join("sub/page.html"), "page").unwrap();
        let folder = Folder::new(&wire::Files::of(path.to_str().unwrap())).unwrap();
        test(&path, &folder);
    }

    fn find(folder: &Folder, path: &str, accepted: Accepted) -> Result<String, Missing> {
        let place = Place::parse(path.as_bytes(), 0).unwrap();
        Ok(match folder.find(&place, accepted)? {
            Found::Folder => "folder".into(),
            Found::File(opened) => io::read_to_string(&opened.file).unwrap(),
        })
    }

    #[test]
    fn files_folders_and_neither() {
        with_folder(|path, folder| {
            let find = |path: &str| find(folder, path, Accepted::default());
            assert_eq!(find("/").unwrap(), "home");
            assert_eq!(find("/index.html").unwrap(), "home");
            assert_eq!(find("/sub").unwrap(), "folder");
            assert_eq!(find("/sub/page.html").unwrap(), "page");
            fs::create_dir(path.join("sub/index.html")).unwrap();
            for missing in ["/sub/", "/no", "/index.html/", "/index.html/x", "/sub/page.html/"] {
                assert_eq!(find(missing), Err(Missing::NotThere), "{missing}");
            }
            let long = format!("/{}", "a".repeat(300));
            assert_eq!(find(&long), Err(Missing::NotThere));
        });
    }

    #[test]
    fn links_stay_below() {
        with_folder(|path, folder| {
            let find = |path: &str| find(folder, path, Accepted::default());
            symlink("sub/page.html", path.join("in")).unwrap();
            symlink("../index.html", path.join("sub/up")).unwrap();
            assert_eq!(find("/in").unwrap(), "page");
            assert_eq!(find("/sub/up").unwrap(), "home");
            let absolute = path.join("index.html");
            for (name, to) in [
                ("out", "../secret"),
                ("far", "/etc/passwd"),
                ("absolute", absolute.to_str().unwrap()),
                ("round", "round"),
                ("up", ".."),
                ("self", "/proc/self/fd/0"),
            ] {
                symlink(to, path.join(name)).unwrap();
                assert_eq!(find(&format!("/{name}")), Err(Missing::NotThere), "{name}");
            }
            assert_eq!(find("/up/secret"), Err(Missing::NotThere));
        });
    }

    #[test]
    fn what_is_no_plain_file_is_not_there() {
        with_folder(|path, folder| {
            nix::unistd::mkfifo(&path.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
            let _socket = std::os::unix::net::UnixListener::bind(path.join("socket")).unwrap();
            for name in ["/pipe", "/socket"] {
                assert_eq!(find(folder, name, Accepted::default()), Err(Missing::NotThere));
            }
        });
    }

    #[test]
    fn the_form_that_is_liked_best_unless_it_is_old() {
        with_folder(|path, folder| {
            let all = accepted("gzip, br;q=0.5");
            assert_eq!(find(folder, "/index.html", all).unwrap(), "home");
            fs::write(path.join("index.html.br"), "br").unwrap();
            assert_eq!(find(folder, "/", all).unwrap(), "br");
            fs::write(path.join("index.html.gz"), "gz").unwrap();
            assert_eq!(find(folder, "/", all).unwrap(), "gz");
            assert_eq!(find(folder, "/", accepted("zstd")).unwrap(), "home");
            let later = SystemTime::now() + Duration::from_mins(1);
            File::open(path.join("index.html")).unwrap().set_modified(later).unwrap();
            assert_eq!(find(folder, "/", all).unwrap(), "home", "what was changed since");
            fs::write(path.join("a.png"), "png").unwrap();
            fs::write(path.join("a.png.gz"), "gz").unwrap();
            assert_eq!(find(folder, "/a.png", all).unwrap(), "png");
        });
    }

    fn accepted(line: &str) -> Accepted {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: {line}\r\n\r\n");
        let mut request = crate::h1::request::RequestHead::default();
        request.advance(head.as_bytes()).unwrap();
        Accepted::read(head.as_bytes(), &request.fields)
    }

    #[test]
    fn folders_that_cannot_be() {
        let keys = |files: &wire::Files| {
            let wrong = Folder::new(files).err().unwrap_or_default();
            wrong.iter().map(NotAFolder::key).collect::<Vec<_>>()
        };
        let files = wire::Files::of("/srv");
        assert!(keys(&files).is_empty());
        assert_eq!(keys(&wire::Files::of("srv")), ["folder"]);
        assert_eq!(keys(&wire::Files::of("")), ["folder"]);
        for index in ["", "a/b", ".x", ".."] {
            assert_eq!(keys(&wire::Files { index: index.into(), ..files.clone() }), ["index"]);
        }
        let pages =
            wire::Files { fallback: Some("x".into()), not_found: Some("/../x".into()), ..files };
        assert_eq!(keys(&pages), ["fallback", "not_found"]);
    }
}
