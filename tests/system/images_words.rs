//! What a machine is told by its command line: as much as there is room for, with every mistake that one can make in
//! it, and what becomes of more.

use jobinit_tests::image;
use jobinit_tests::machine::{Machine, Setup};
use serde_json::Value;

/// What the kernel takes on x86; its end is a byte more.
const LONGEST: usize = 2047;
/// What `images/vm/run` writes in front, and between what it is given.
const IN_FRONT: &str = "console=ttyS0 quiet panic=-1 no_timer_check rdinit=/sbin/init ";
const BETWEEN: &str = " -- ";

/// Somebody else's words, empty ones, the same ones again, and, last of each, what is meant.
const KERNEL: &[&str] = &[
    "BOOT_IMAGE=/vmlinuz BOOTIF=01-52-54-00 splash single -b 3 emergency= nomodeset=",
    "a.b a.b= a.b=c systemd.unit=rescue.target \"quoted=two words\" = =x",
    "root= root=/dev/none rootflags= resume= initrd= ro rw ro= rw=1",
    "odd=1 odd= odd=2 PATH=/nowhere PATH= HOME= TERM=",
    "INIT_LISTEN=0.0.0.0:80 INIT_LISTEN= INIT_API=nonsense INIT_TOKEN_FILE=/none INIT_STATE=9 INIT_CRASH=x",
    "BOOTCTL_CONFIG= BOOTCTL_INIT= BOOTCTL_PROXY_LISTEN=nonsense BOOTCTL_PROXY_LISTEN= BOOTCTL_RUN_DIR=",
    "bootctl.hostname=first bootctl.hostname= bootctl.hostname=last",
    "bootctl.runlevel=1 bootctl.runlevel= bootctl.runlevel=3 bootctl.token= bootctl.token=/none",
    "bootctl.config= bootctl.dns= bootctl.shell= bootctl. bootctl.= bootctl.hostname",
    "ip= ip=nonsense bootctl.ip= bootctl.ip=10.0.2.15/24,10.0.2.2",
    "sysctl. sysctl.= sysctl.none=1 sysctl.kernel.panic= sysctl.kernel.panic=7",
];
/// init's, by the same hand.
const INITS: &str =
    "--watchdog= --grace=never --fly --listen= nothing= --auth=nobody bootctl boot last=";
/// What the console says of it.
const TOLD: &[&str] = &[
    "of the kernel's command line: `splash` is no option, and no program",
    "`-b` is no option",
    "--grace never: expected",
    "--listen : only a loopback address",
    "--auth nobody: expected peer or token",
    "words of the command line: last=",
    "\"bootctl.hostname=\" of the command line is ignored",
    "\"bootctl.runlevel=\" of the command line is ignored",
    "\"bootctl.token=\" of the command line is ignored",
    "bootctl.token: cannot read init's token file /none",
    "\"bootctl.config=\" of the command line is ignored",
    "\"bootctl.dns=\" of the command line is ignored",
    "\"bootctl.shell=\" of the command line is ignored",
    "\"bootctl.=\" of the command line is ignored",
    "\"ip=nonsense\" of the command line is ignored",
    "\"sysctl.=\" of the command line is ignored",
    "cannot set none",
];

/// The words, and as much more as makes a line of that length of them.
fn padded(words: &str, inits: &str, length: usize) -> String {
    let there = IN_FRONT.len() + words.len() + " pad=".len() + BETWEEN.len() + inits.len();
    format!("pad={} {words}", "x".repeat(length - there))
}

#[test]
fn images_vm_b03_a_full_line_of_mistakes_boots_all_the_same() {
    let kernel = padded(&KERNEL.join(" "), INITS, LONGEST);
    let setup =
        Setup { words: Some(INITS), kernel: Some(&kernel), shell: true, ..Setup::default() };
    let Some(machine) = Machine::boot(&setup) else { return };

    let page = machine.first_answer(machine.proxy, "hello.localhost", "/");
    assert!(page.body.contains("app: hello.localhost\n"), "{page:?}");
    // All of it has come, and what is last of a kind counts.
    assert_eq!(machine.says("wc -c </proc/cmdline").trim(), (LONGEST + 1).to_string());
    assert_eq!(machine.says("hostname; cat /proc/sys/kernel/panic"), "last\n7\n");
    let jobs = machine.first_answer(machine.api, "127.0.0.1", "/jobs").json();
    let boot = jobs.as_array().unwrap().iter().find(|job| job["id"] == "boot").unwrap();
    let env = |name: &str| boot["spec"]["envs"][name].as_str().map(str::to_owned);
    assert_eq!(env("odd").as_deref(), Some("2"), "{boot}");
    assert_eq!(env("quoted").as_deref(), Some("two words"), "{boot}");
    assert_eq!(env("INIT_API").as_deref(), Some("127.0.0.1:1"), "{boot}");
    assert_eq!((env("INIT_TOKEN_FILE"), env("INIT_STATE")), (None, None), "{boot}");
    assert!(env("PATH").is_some_and(|path| path.contains("/usr/bin")), "{boot}");
    assert_eq!(boot["respawn"], 0, "at the first go: {boot}");
    // Nothing of it is an app's.
    let app = jobs.as_array().unwrap().iter().find(|job| job["id"] == "hello.localhost.1").unwrap();
    assert_eq!(app["spec"]["envs"]["odd"], Value::Null, "{app}");
    let console = machine.console();
    for told in TOLD {
        assert!(console.contains(told), "{told} in {console}");
    }
    assert!(!console.contains("Kernel panic") && !console.contains("Oops"), "{console}");
}

/// One that the kernel would die of is not begun with.
#[test]
fn images_vm_b03_a_line_that_is_too_long_is_refused() {
    let mut run = image::script("vm/run");
    let kernel = padded("", INITS, LONGEST + 1);
    let output = run.env("KERNEL_WORDS", kernel).env("INIT_WORDS", INITS).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the kernel takes 2047 bytes of words, and these are 2048"), "{said}");
}

/// As a boot loader leaves it that has no room for all of it.
#[test]
fn images_vm_b03_a_line_that_is_cut_off_leaves_the_api() {
    let setup = Setup { words: Some("--grace=3 boo"), ..Setup::default() };
    let Some(machine) = Machine::boot(&setup) else { return };
    machine.shows("of the kernel's command line: `boo` is no option, and no program", 1);
    machine.shows("of the kernel's command line: it names no command to start", 1);
    let console = machine.shows("listening on 127.0.0.1:1", 1);
    assert!(!console.contains("panic") && !console.contains("early boot"), "{console}");
}
