//! Ctrl-C and SIGTERM: the first one asks what runs to end well, the second one ends it.

use crate::fault::{Fault, Kind};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether somebody asked to stop; training and talking look at it.
static ASKED: AtomicBool = AtomicBool::new(false);
/// Whether what runs now looks at [`ASKED`].
static HEARD: AtomicBool = AtomicBool::new(false);

/// What a shell expects from a program that was interrupted.
const INTERRUPTED: i32 = 130;

/// Begins to listen; without a listener that hears, a signal ends the program at once.
pub fn listen() -> Result<(), Fault> {
    let heard = || {
        if !HEARD.load(Ordering::SeqCst) || ASKED.swap(true, Ordering::SeqCst) {
            std::process::exit(INTERRUPTED);
        }
        crate::ui::warn("stopping after this step; once more ends at once, without saving");
    };
    ctrlc::set_handler(heard).map_err(|e| Fault::new(Kind::Machine, format!("cannot listen for Ctrl-C: {e}")))
}

/// From now on a first signal is left to whoever looks at the returned flag.
pub fn hear() -> &'static AtomicBool {
    HEARD.store(true, Ordering::SeqCst);
    &ASKED
}

/// From now on a signal ends the program.
pub fn unheard() {
    HEARD.store(false, Ordering::SeqCst);
}

/// Forgets a request that has been followed, and says whether there was one.
pub fn forget() -> bool {
    ASKED.swap(false, Ordering::SeqCst)
}
