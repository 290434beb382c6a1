//! The guest of a fake node.
//!
//! Two halves, as in the real one: one makes it so and keeps a report of it, whoever listens; the other speaks with
//! the agent, over one stream after another. What is on the disk (which services have run) outlives both.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use jiff::Timestamp;
use testyard_guest_protocol::{
    Desired, FrameError, FromGuest, Hello, PROTOCOL, ProgramState, Report, ServiceId, ServiceReport,
    ServiceState, Stage, ToGuest, read_async, write_async,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::{mpsc, watch};

use super::script::{GuestScript, Manner, Outcome};
use super::socket::{AGAIN, Door};
use super::world::{Disk, World};
use crate::spec::NodeKey;

pub(super) struct Guest {
    pub(super) key: Arc<Mutex<NodeKey>>,
    pub(super) since: Timestamp,
    pub(super) script: GuestScript,
    pub(super) door: Door,
    pub(super) inside: Arc<Inside>,
    pub(super) disk: Arc<Mutex<Disk>>,
    pub(super) world: Weak<World>,
}

/// One boot's state.
pub(super) struct Inside {
    boot: String,
    desired: watch::Sender<Option<Desired>>,
    report: watch::Sender<Option<Report>>,
}

impl Inside {
    pub(super) fn new(boot: String) -> Self {
        Self { boot, desired: watch::Sender::new(None), report: watch::Sender::new(None) }
    }

    pub(super) fn desired(&self) -> Option<Desired> {
        self.desired.borrow().clone()
    }

    pub(super) fn report(&self) -> Option<Report> {
        self.report.borrow().clone()
    }
}

/// The whole life of a guest; ends when it has been asked to stop.
pub(super) async fn live(mut guest: Guest) {
    pause(guest.script.boot).await;
    if guest.script.manner == Manner::Absent {
        return std::future::pending().await;
    }
    let work = work(guest.script.clone(), Arc::clone(&guest.inside), Arc::clone(&guest.disk));
    tokio::pin!(work);
    loop {
        let stream = tokio::select! {
            stream = guest.door.connect() => stream,
            () = &mut work => return,
        };
        let said = tokio::select! {
            said = speak(&guest.script, &guest.inside, stream) => said,
            () = &mut work => return,
        };
        match said {
            Ok(Stopped) => {
                if let Some(world) = guest.world.upgrade() {
                    let key = *guest.key.lock().unwrap_or_else(PoisonError::into_inner);
                    world.end(&key, Some(guest.since), 0, false);
                }
                return;
            }
            // The agent has gone, or would not hear any more of this.
            Err(_) => tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                () = &mut work => return,
            },
        }
    }
}

async fn pause(time: std::time::Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

// === speaking ===

/// The agent has asked the guest to stop.
struct Stopped;

async fn speak(script: &GuestScript, inside: &Inside, stream: DuplexStream) -> Result<Stopped, FrameError> {
    let (mut from_agent, mut to_agent) = tokio::io::split(stream);
    let protocol = if script.manner == Manner::OtherProtocol { PROTOCOL + 1 } else { PROTOCOL };
    let hello = FromGuest::Hello(Hello { protocol, version: "fake".to_owned(), boot: inside.boot.clone() });
    let say = async {
        match script.manner {
            Manner::Silent | Manner::Absent => return std::future::pending().await,
            Manner::HangsUp => return Err(FrameError::Closed),
            Manner::Garbage => to_agent.write_all(b"\0\0\0\x0c{\"say\":\"no\"}").await?,
            Manner::TooLong => to_agent.write_all(&[0xff; 64]).await?,
            _ => write_async(&mut to_agent, &hello).await?,
        }
        match script.manner {
            Manner::Garbage | Manner::TooLong | Manner::Mute => return std::future::pending().await,
            Manner::ClaimsReady => {
                let claim = Report { revision: u64::MAX, stage: Stage::Ready, ssh: true, ..nothing() };
                write_async(&mut to_agent, &FromGuest::Report(Box::new(claim))).await?;
                return std::future::pending().await;
            }
            _ => {}
        }
        let mut reports = inside.report.subscribe();
        reports.mark_changed();
        loop {
            if script.manner == Manner::Floods {
                tokio::task::yield_now().await;
            } else if reports.changed().await.is_err() {
                return std::future::pending().await;
            }
            let Some(report) = reports.borrow_and_update().clone() else { continue };
            let report = if script.manner == Manner::Verbose { verbose(report) } else { report };
            write_async(&mut to_agent, &FromGuest::Report(Box::new(report))).await?;
        }
    };
    let hear = async {
        loop {
            if script.manner == Manner::Silent {
                let mut sink = [0; 4096];
                if from_agent.read(&mut sink).await? == 0 {
                    return Err(FrameError::Closed);
                }
                continue;
            }
            match read_async::<ToGuest>(&mut from_agent).await? {
                ToGuest::Desired(desired) => {
                    inside.desired.send_replace(Some(*desired));
                }
                ToGuest::Stop { .. } if script.ignores_stop => {}
                ToGuest::Stop { .. } => return Ok(Stopped),
                // It asks nothing.
                ToGuest::Told(_) => {}
            }
        }
    };
    tokio::select! {
        said = say => said,
        heard = hear => heard,
    }
}

fn verbose(report: Report) -> Report {
    let service = ServiceReport {
        id: ServiceId::Execute(u32::MAX),
        state: ServiceState::Running,
        detail: "\u{1b}[31mlies\u{7}".repeat(20),
        folder: "/nowhere".repeat(20),
    };
    let mut services = report.services;
    services.extend(vec![service; 1200]);
    Report { failure: report.failure.map(|text| text.repeat(10_000)), services, ..report }
}

// === working ===

fn nothing() -> Report {
    Report {
        revision: 0,
        stage: Stage::Booted,
        failure: None,
        ssh: false,
        ssh_server: None,
        notice: None,
        program: ProgramState::None,
        program_note: None,
        services: Vec::new(),
        scheduled: Vec::new(),
    }
}

/// Makes it so, whatever is asked for, and keeps the report. Never ends.
async fn work(script: GuestScript, inside: Arc<Inside>, disk: Arc<Mutex<Disk>>) {
    let mut desired = inside.desired.subscribe();
    let mut report = nothing();
    let (begin, orders) = mpsc::channel(1);
    let (changed, mut changes) = watch::channel(());
    let services = run_services(&script, &disk, orders, changed);
    tokio::pin!(services);
    loop {
        let program_ends = lock(&disk).programs.next_end();
        let program_ends = async {
            match program_ends {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = program_ends => {}
            Ok(()) = desired.changed() => {
                let Some(now) = desired.borrow_and_update().clone() else { continue };
                if report.stage == Stage::Booted {
                    pause(script.prepare).await;
                    report.stage = Stage::Prepared;
                }
                if now.go && !report.ssh {
                    pause(script.ssh).await;
                    report.ssh = true;
                    report.program =
                        if now.program.argv.is_empty() { ProgramState::None } else { ProgramState::Running };
                    {
                        let mut disk = lock(&disk);
                        disk.services = planned(&now, &disk.services);
                    }
                    // Holds one order, and there is one in a boot.
                    let _ = begin.try_send(now.clone());
                }
                report.revision = now.revision;
            }
            Ok(()) = changes.changed() => {}
            () = &mut services => {}
        }
        if report.ssh {
            report.services = lock(&disk).services.clone();
            (report.stage, report.failure) = judge(&report.services);
        }
        if let Some(now) = inside.desired() {
            let mut disk = lock(&disk);
            // None before what is installed.
            if report.stage == Stage::Ready {
                disk.programs.turn(&now, &script);
            }
            report.scheduled = disk.programs.reports(&now);
        }
        inside.report.send_replace(Some(report.clone()));
    }
}

fn lock(disk: &Mutex<Disk>) -> std::sync::MutexGuard<'_, Disk> {
    disk.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The services of a disk: what has been done stays done.
fn planned(desired: &Desired, done: &[ServiceReport]) -> Vec<ServiceReport> {
    let number = |index: usize| u32::try_from(index).unwrap_or(u32::MAX);
    let installs = (0..desired.installs.len()).map(|index| ServiceId::Install(number(index)));
    let executes = (0..desired.executes.len()).map(|index| ServiceId::Execute(number(index)));
    let waiting =
        |id| ServiceReport { id, state: ServiceState::Waiting, detail: String::new(), folder: String::new() };
    let find = |id| done.iter().find(|service| service.id == id).cloned();
    installs.chain(executes).map(|id| find(id).unwrap_or_else(|| waiting(id))).collect()
}

/// What ended with the node is not begun again.
pub(super) fn interrupt(services: &mut [ServiceReport]) {
    for service in services.iter_mut().filter(|service| service.state == ServiceState::Running) {
        service.state = ServiceState::Interrupted;
    }
}

fn judge(services: &[ServiceReport]) -> (Stage, Option<String>) {
    let mut installs = services.iter().filter(|service| matches!(service.id, ServiceId::Install(_)));
    let bad = installs.clone().find(|service| {
        !matches!(service.state, ServiceState::Waiting | ServiceState::Running | ServiceState::Exited(0))
    });
    let failure = bad.map(|service| format!("{:?} failed: {}", service.id, service.detail));
    let executes = || services.iter().filter(|service| matches!(service.id, ServiceId::Execute(_)));
    let begun = executes().count() == 0 || executes().any(|service| service.state != ServiceState::Waiting);
    let done = begun && installs.all(|service| service.state == ServiceState::Exited(0));
    (if done { Stage::Ready } else { Stage::Installing }, failure)
}

/// Runs what waits, in order, once it is ordered; nothing after an install that failed.
async fn run_services(
    script: &GuestScript,
    disk: &Mutex<Disk>,
    mut orders: mpsc::Receiver<Desired>,
    changed: watch::Sender<()>,
) {
    let Some(desired) = orders.recv().await else { return std::future::pending().await };
    let names: Vec<String> = desired
        .installs
        .iter()
        .map(|install| install.url.clone())
        .chain(desired.executes.iter().map(|execute| execute.command.clone()))
        .collect();
    for (index, name) in names.iter().enumerate() {
        let Some(service) = lock(disk).services.get(index).cloned() else { break };
        let set = |state, detail: &str| {
            if let Some(service) = lock(disk).services.get_mut(index) {
                service.state = state;
                detail.clone_into(&mut service.detail);
            }
            changed.send_replace(());
        };
        if service.state == ServiceState::Waiting {
            set(ServiceState::Running, "");
            match script.outcome(name) {
                Outcome::Exits { status, after } => {
                    pause(after).await;
                    set(ServiceState::Exited(status), "");
                }
                Outcome::Signalled { signal, after } => {
                    pause(after).await;
                    set(ServiceState::Signalled(signal), "");
                }
                Outcome::Fails { detail, after } => {
                    pause(after).await;
                    set(ServiceState::Failed, &detail);
                }
                Outcome::Hangs => std::future::pending().await,
            }
        }
        if judge(&lock(disk).services).1.is_some() {
            break;
        }
    }
    std::future::pending().await
}
