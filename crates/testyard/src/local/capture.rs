//! `testyard capture`: packets of a link, for Wireshark.

use std::fs::File;
use std::io::{IsTerminal as _, Write};
use std::path::PathBuf;

use clap::Args;
use testyard_web::api::{CAPTURE_FAILED, CaptureEnd};
use testyard_web::client::Blocks;

use super::session::{Connection, Session};
use super::tally::Tally;
use crate::exit::{Failure, Outcome};
use crate::progress::Screen;

/// `capture`
#[derive(Debug, Args)]
#[command(after_help = "Examples: testyard capture uplink -w uplink.pcapng\n          \
                        testyard capture --all --slice lab --for 10s | wireshark -k -i -\n          \
                        testyard capture uplink --filter 'tcp port 80' --bytes 96 -w web.pcapng\n\
                        Each interface is called NODE:eth1; directions are as the node sees them. Filters need tcpdump.")]
pub struct Arguments {
    /// The link
    #[arg(required_unless_present = "all")]
    link: Option<String>,
    /// All links of the slice
    #[arg(long, conflicts_with = "link")]
    all: bool,
    /// The slice [default: the only one]
    #[arg(long)]
    slice: Option<String>,
    /// Where to write; the standard output if nothing is said
    #[arg(short = 'w', long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Which packets, in the language of tcpdump
    #[arg(long, value_name = "EXPRESSION")]
    filter: Option<String>,
    /// How many bytes of each packet are kept [default: all]
    #[arg(long, value_name = "N")]
    bytes: Option<u32>,
    /// End after this time: 30s, 5m [default: Ctrl-C]
    #[arg(long = "for", value_name = "TIME")]
    span: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: &Arguments) -> Outcome {
    let session = Session::open(&arguments.connection);
    let slice = session.slice(arguments.slice.as_deref()).await?;
    let span =
        arguments.span.as_deref().map(crate::config::parse_duration).transpose().map_err(Failure::usage)?;
    if arguments.write.is_none() && std::io::stdout().is_terminal() {
        return Err(Failure::usage(
            "packets are not for a terminal: give -w FILE, or pipe them to Wireshark",
        ));
    }
    let (link, filter) = (arguments.link.as_deref(), arguments.filter.as_deref());
    let mut blocks = session.client.capture(&slice.urn, link, arguments.bytes, filter).await?;
    // What is there already is not written over by a capture that cannot begin.
    let mut out: Box<dyn Write> = match &arguments.write {
        Some(path) => {
            let file = File::create(path);
            Box::new(file.map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?)
        }
        None => Box::new(std::io::stdout()),
    };
    let over = async {
        match span {
            Some(span) => tokio::time::sleep(span).await,
            None => std::future::pending().await,
        }
    };
    // Wireshark shows what comes by itself.
    let is_watched = arguments.write.is_some() && std::io::stderr().is_terminal();
    let mut screen = is_watched.then(|| Screen::new(1));
    let mut tally = Tally::default();
    let passed = pass(&mut blocks, &mut out, over, |bytes| {
        tally.add(bytes);
        if let Some(screen) = &mut screen {
            screen.update("", tally.to_string());
        }
    });
    let passed = passed.await;
    if let Some(screen) = &screen {
        screen.finish();
    }
    passed?;
    remark!("{tally} captured");
    blocks.end().map_or(Ok(()), conclude)
}

/// Writes what comes until it ends, its time is over, or nobody wants more.
async fn pass(
    blocks: &mut Blocks,
    out: &mut dyn Write,
    over: impl Future<Output = ()>,
    mut seen: impl FnMut(&[u8]),
) -> Outcome {
    tokio::pin!(over);
    loop {
        let bytes = tokio::select! {
            bytes = blocks.next() => bytes?,
            () = &mut over => None,
            _ = tokio::signal::ctrl_c() => None,
        };
        let Some(bytes) = bytes else { return Ok(()) };
        match out.write_all(&bytes).and_then(|()| out.flush()) {
            Ok(()) => seen(&bytes),
            // Wireshark was closed.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(Failure::failed(format!("the capture cannot be written: {error}"))),
        }
    }
}

/// Says why a capture ended that nobody here has ended.
fn conclude(end: &CaptureEnd) -> Outcome {
    let counted = match (end.received, end.dropped) {
        (Some(received), Some(dropped)) => format!("; {received} packets received, {dropped} dropped"),
        _ => String::new(),
    };
    if end.reason == CAPTURE_FAILED {
        return Err(Failure::failed(format!("the capture has failed: {}{counted}", end.text)));
    }
    remark!("the capture has ended: {}{counted}", end.text);
    Ok(())
}
