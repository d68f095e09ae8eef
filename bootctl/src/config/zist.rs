//! Files as zist has them: `Name`, `Path`, `Args`, `Restart` and `Web`, in capitals and beside any
//! keys of our own.

use init_wire::{Policy, Restart};

use super::problem::Fault;
use super::reader::{Field, Section};
use crate::name::AppName;

/// The file gives an app its name; what it says of itself must be the same.
pub(super) fn check_name(root: &Section<'_>, name: &AppName) {
    let Some(field) = root.field("Name") else { return };
    if let Some(text) = field.string()
        && text != name.as_str()
    {
        field.report(Fault::OtherName { text, name: name.clone() });
    }
}

/// The value of zist's key, if it is there; ours says the same.
pub(super) fn instead<'a>(
    root: &Section<'a>,
    ours: &'static str,
    theirs: &'static str,
) -> Option<Field<'a>> {
    let field = root.field(theirs)?;
    if root.field(ours).is_some() {
        field.report_key(Fault::Excludes { other: ours });
    }
    Some(field)
}

pub(super) fn args(root: &Section<'_>) -> Vec<String> {
    let Some(field) = instead(root, "args", "Args") else {
        return root.get("args", Field::strings).unwrap_or_default();
    };
    let Some(text) = field.string() else { return Vec::new() };
    let split = shlex::split(&text);
    if split.is_none() {
        field.form(&text, "end each quote that begins, as in \"-a 'b c'\"");
    }
    split.unwrap_or_default()
}

pub(super) fn restart(root: &Section<'_>, ours: Restart) -> Restart {
    let again = root.field("Restart").and_then(|field| {
        if root.field("restart").is_some() {
            field.report_key(Fault::Excludes { other: "restart" });
        }
        field.bool()
    });
    match again {
        Some(true) => Restart { policy: Policy::Always, ..ours },
        Some(false) => Restart { policy: Policy::Never, ..ours },
        None => ours,
    }
}
