//! Releases of an app, as archives: each has a version of its own, and runs the same program.

/// The file that says which version it is.
pub const VERSION: &str = "VERSION";
/// The program, relative to the release.
pub const PROGRAM: &str = "run";

/// What the program is: whatever it is a release of, it becomes that one.
pub fn program(exec: &str) -> String {
    format!("#!/bin/sh\nexec {exec}\n")
}

/// A tar archive with both files.
pub fn archive(exec: &str, version: u32) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, mode, text) in
        [(PROGRAM, 0o755, program(exec)), (VERSION, 0o644, version.to_string())]
    {
        archive.extend(head(name, mode, text.len()));
        archive.extend(text.bytes());
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

fn head(name: &str, mode: u32, size: usize) -> [u8; 512] {
    let mut head = [0; 512];
    let mut put =
        |at: usize, text: &str| head[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, &format!("{mode:07o}"));
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{size:011o}"));
    put(136, "00000000000");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar");
    put(263, "00");
    let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
    head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    head
}
