//! Work on large inputs, away from the threads that serve everybody.

/// Below this, work is shorter than the way to another thread and back.
const LARGE: usize = 64 << 10;

/// Does the work here if its input is small, on a thread for blocking work if it is large.
///
/// # Panics
/// If the work does.
pub(crate) async fn offload<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
    if bytes < LARGE {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => panic!("the runtime is being shut down: {error}"),
        },
    }
}
