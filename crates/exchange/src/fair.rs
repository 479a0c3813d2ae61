//! Fairness: what is done for many questions in a row keeps a processor busy; whoever waits for one answer gets a turn in between.

/// How many statements are done in a row.
const IN_A_ROW: usize = 8;

/// Lets others have a turn when so many were done that it is due.
pub(crate) async fn pause(done: usize) {
    if done.is_multiple_of(IN_A_ROW) {
        tokio::task::yield_now().await;
    }
}
