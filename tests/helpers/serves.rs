//! An app under load: `jobinit_tests::serves`.

fn main() {
    jobinit_tests::serves::run();
}
