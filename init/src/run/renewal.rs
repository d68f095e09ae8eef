//! Becoming another init, as far as it takes standing still: between two turns.

use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};
use tracing::warn;

use super::life::{A_TICK, Happened, LAST_TURNS, Life};
use crate::api::Phase;
use crate::reactor::{FINISHING, RenewalStage};
use crate::renew::{Handed, become_program};

/// How long conversations that wait may take to be handed over.
const HANDING: Duration = Duration::from_millis(200);

impl Life {
    /// Goes on with becoming another init, as far as that goes now. Does not return when it is done.
    pub(super) async fn go_on_renewing(&mut self) {
        self.reactor.look_at_renewal();
        let now = Instant::now();
        match self.reactor.renewal.as_ref().map(|renewal| &renewal.stage) {
            Some(RenewalStage::Waiting { by }) if *by <= now => {
                let by = *by + FINISHING;
                self.see_starts_through(by).await;
                self.reactor.look_at_renewal();
            }
            Some(RenewalStage::Finishing { by }) => {
                let is_late = *by <= now;
                if *self.handover.phase().borrow() == Phase::None {
                    self.handover.enter(Phase::Finish);
                }
                let all_wait = self.handover.open() == self.handover.waiting();
                if is_late || all_wait && self.is_calm() {
                    self.renew(is_late).await;
                }
            }
            Some(RenewalStage::Waiting { .. } | RenewalStage::Checking { .. }) | None => {}
        }
    }

    /// Whether all that has come is handled, and no start is on its way.
    fn is_calm(&self) -> bool {
        self.knocks.is_empty() && self.signals.is_empty() && !self.reactor.is_starting()
    }

    /// Waits until no start is on its way. No other one is begun: on a machine that is busy they would
    /// take turns for ever, so that there would be no moment without one. Whoever asks for something
    /// meanwhile, and whoever ends, waits.
    async fn see_starts_through(&mut self, by: Instant) {
        while self.reactor.is_starting() && Instant::now() < by {
            sleep(A_TICK).await;
            self.see_starts();
        }
    }

    fn see_starts(&mut self) {
        self.reactor.see_births();
        while let Ok(sight) = self.sights.try_recv() {
            self.handle(Happened::Sight(sight));
        }
    }

    /// Hands over the conversations that wait for jobs, to which nothing happens meanwhile but what has
    /// been asked for already, and becomes the new init. Whoever is still in the middle of something then
    /// is cut off. Goes back to other things if there are some, unless it is late.
    async fn renew(&mut self, is_late: bool) {
        let renewal = self.reactor.renewal.as_ref();
        let Some(program) = renewal.and_then(|renewal| renewal.program.clone()) else { return };
        self.have_a_last_turn().await;
        if !is_late && !self.is_calm() {
            return;
        }
        self.handover.enter(Phase::Now);
        self.signals.give_back();
        let begun = Instant::now();
        loop {
            self.have_a_last_turn().await;
            // From here to the end nobody else has a turn, so that no question is left.
            self.answer_all();
            let is_cut_short = begun + HANDING <= Instant::now();
            if self.reactor.is_starting() {
                if begun + FINISHING <= Instant::now() {
                    return self.stay(self.reactor.slow_start());
                }
            } else if self.handover.open() == 0 || is_cut_short {
                break;
            }
            let _ = timeout(A_TICK, self.handover.changed()).await;
            self.see_starts();
        }
        let cut_off = self.handover.open();
        if cut_off > 0 {
            warn!("{cut_off} API connections were in the middle of something, and are cut off");
        }
        self.reactor.keep_replies(self.handover.tickets().into_iter());
        let conversations = self.handover.take();
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
        let program = program.0.to_string_lossy();
        self.stay(format!("init cannot become {program}: {error}"));
    }

    /// Who has just come, or has just been answered, has a turn; and so has what jobs have said.
    async fn have_a_last_turn(&mut self) {
        for _ in 0..LAST_TURNS {
            self.hear_last_words().await;
        }
    }

    /// Answers all that has been asked.
    fn answer_all(&mut self) {
        while let Ok(knock) = self.knocks.try_recv() {
            self.handle(Happened::Knock(knock));
        }
    }

    /// init stays what it is.
    pub(super) fn stay(&mut self, why: String) {
        self.reactor.give_up_renewal(why);
        self.reactor.keep_replies(self.handover.tickets().into_iter());
        self.handover.enter(Phase::None);
    }
}
