//! Becoming another init, as far as it takes standing still: between two turns.

use std::time::{Duration, Instant};

use tracing::warn;

use super::life::{A_TICK, Happened, LAST_TURNS, Life};
use crate::api::Phase;
use crate::reactor::{FINISHING, Renewal, RenewalStage, SLOW_START};
use crate::renew::{Handed, become_program};

/// How long conversations that wait may take to be handed over.
const HANDING: Duration = Duration::from_millis(200);

impl Life {
    /// Goes on with becoming another init, as far as that goes now. Does not return when it is done.
    pub(super) async fn go_on_renewing(&mut self) {
        self.reactor.look_at_renewal();
        let Some(Renewal { stage: RenewalStage::Finishing { by }, .. }) = &self.reactor.renewal
        else {
            return;
        };
        let is_late = *by <= Instant::now();
        if *self.handover.phase().borrow() == Phase::None {
            self.handover.enter(Phase::Finish);
        }
        let is_overdue = *by + FINISHING <= Instant::now();
        let all_wait = self.handover.open() == self.handover.waiting();
        let is_handled = self.knocks.is_empty() && self.signals.is_empty();
        if !self.reactor.is_starting() && is_handled && (all_wait || is_late) {
            self.renew().await;
        } else if is_overdue {
            self.stay(SLOW_START.into());
        }
    }

    /// Hands over the conversations that wait for jobs, to which nothing happens meanwhile, and becomes
    /// the new init. Whoever is still in the middle of something then is cut off.
    async fn renew(&mut self) {
        let Some(program) = self.reactor.renewal.as_ref().map(|renewal| renewal.program.clone())
        else {
            return;
        };
        for _ in 0..LAST_TURNS {
            // Who has just come, or has just been answered, has a turn; and so has what jobs have said.
            self.hear_last_words().await;
        }
        let is_calm = self.knocks.is_empty() && self.signals.is_empty();
        if !is_calm || self.reactor.is_starting() {
            return;
        }
        self.handover.enter(Phase::Now);
        let by = Instant::now() + HANDING;
        while self.handover.open() > 0 && Instant::now() < by {
            let _ = tokio::time::timeout(A_TICK, self.handover.changed()).await;
        }
        let cut_off = self.handover.open();
        if cut_off > 0 {
            warn!("{cut_off} API connections were in the middle of something, and are cut off");
        }
        let conversations = self.handover.take();
        // What is answered from now on, nobody is there to hear.
        let pending = conversations.iter().filter_map(|back| back.pending?.ticket);
        self.reactor.keep_replies(pending);
        while let Ok(knock) = self.knocks.try_recv() {
            self.handle(Happened::Knock(knock));
        }
        for _ in 0..LAST_TURNS {
            self.hear_last_words().await;
        }
        let handed = conversations.iter().map(Handed::of).collect();
        let terminal = self.pause.is_held();
        let mut state = self.reactor.save(handed, self.door.last_ticket(), terminal);
        state.mark();
        let error = match self.reactor.write(&state) {
            Ok(file) => become_program(&program, &state, &file),
            Err(error) => error,
        };
        for back in conversations {
            self.handover.hand(back);
        }
        let program = program.to_string_lossy().into_owned();
        self.stay(format!("init cannot become {program}: {error}"));
    }

    /// init stays what it is.
    pub(super) fn stay(&mut self, why: String) {
        self.reactor.give_up_renewal(why);
        self.handover.enter(Phase::None);
    }
}
