//! Any bytes as a job spec: refused with the field's name, or kept as they came.

#![no_main]

use init::account::Accounts;
use init::spec::{Confinement, Shown, Spec};
use init_wire::JobSpec;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(wire) = serde_json::from_slice::<JobSpec>(bytes) else { return };
    match Spec::check(&wire, &Accounts::default(), (0, 0)) {
        Err(error) => {
            assert!(!error.field().is_empty());
            assert!(!error.to_string().is_empty());
        }
        Ok(spec) => {
            let kept = spec.wire().expect("what is kept can be read");
            assert_eq!(kept, wire, "a spec is shown as it came");
            // The spawner reads these again, and may rely on them.
            Confinement::check(&kept).expect("what was good stays good");
            for text in kept.args.iter().chain(kept.envs.values()).chain([&kept.exec]) {
                assert!(!text.contains('\0'), "what a program cannot be given is refused");
            }
            assert!(spec.size() >= bytes.len().min(1));
            let again = Spec::check(&kept, &Accounts::default(), (0, 0)).expect("good again");
            assert_eq!(again, spec, "the same spec is the same job");
            serde_json::to_string(&Shown(spec.into())).expect("it can be shown");
        }
    }
});
