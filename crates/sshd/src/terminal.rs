//! Pseudo-terminals, made as the user.

use std::io;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::libc::{self, winsize};
use nix::sys::termios::{
    ControlFlags, InputFlags, LocalFlags, OutputFlags, SetArg, SpecialCharacterIndices as Char, Termios,
    tcgetattr, tcsetattr,
};
use russh::Pty;
use tokio::io::unix::AsyncFd;

/// A terminal whose program has not been started yet.
#[derive(Debug)]
pub(crate) struct Terminal {
    pub(crate) master: AsyncFd<OwnedFd>,
    /// The program's end.
    pub(crate) slave: OwnedFd,
    /// Its name, where there is a /dev/pts to name it by.
    pub(crate) path: String,
    /// What the client says it is.
    pub(crate) kind: String,
}

impl Terminal {
    /// Makes one of `size`, set up by the modes of RFC 4254, section 8.
    pub(crate) fn open(kind: &str, size: winsize, modes: &[(Pty, u32)]) -> io::Result<Self> {
        let made = nix::pty::openpty(&size, None)?;
        for fd in [&made.master, &made.slave] {
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        }
        fcntl(&made.master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK | OFlag::O_RDWR))?;
        let mut settings = tcgetattr(&made.slave)?;
        apply(&mut settings, modes);
        tcsetattr(&made.slave, SetArg::TCSANOW, &settings)?;
        let path = nix::unistd::ttyname(&made.slave)
            .map(|path| path.to_string_lossy().into_owned())
            .unwrap_or_default();
        let kind = if kind.len() <= 64 && !kind.contains('\0') { kind.to_owned() } else { String::new() };
        Ok(Self { master: crate::kernel::watch(made.master)?, slave: made.slave, path, kind })
    }
}

/// Reads what the program has written; nothing at its end.
pub(crate) fn read(master: &AsyncFd<OwnedFd>, buffer: &mut [u8]) -> io::Result<usize> {
    match nix::unistd::read(master.get_ref(), buffer) {
        // So the kernel says that no process has the terminal open any more.
        Err(Errno::EIO) => Ok(0),
        done => done.map_err(io::Error::from),
    }
}

/// Writes `bytes` as if they were typed.
pub(crate) async fn write(master: &AsyncFd<OwnedFd>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let mut ready = master.writable().await?;
        match ready.try_io(|fd| nix::unistd::write(fd.get_ref(), bytes).map_err(io::Error::from)) {
            Ok(written) => bytes = &bytes[written?..],
            Err(_) => continue,
        }
    }
    Ok(())
}

/// A client's numbers as the kernel wants them.
pub(crate) fn size(columns: u32, rows: u32, width: u32, height: u32) -> winsize {
    let short = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
    winsize { ws_row: short(rows), ws_col: short(columns), ws_xpixel: short(width), ws_ypixel: short(height) }
}

fn apply(settings: &mut Termios, modes: &[(Pty, u32)]) {
    for (mode, value) in modes {
        let on = *value != 0;
        if let Some(index) = character(*mode) {
            // 255 is how the standard says that there is no such character.
            let byte = u8::try_from(*value).unwrap_or(0);
            settings.control_chars[index as usize] = if byte == 255 { libc::_POSIX_VDISABLE } else { byte };
        } else if let Some(flag) = input(*mode) {
            settings.input_flags.set(flag, on);
        } else if let Some(flag) = local(*mode) {
            settings.local_flags.set(flag, on);
        } else if let Some(flag) = output(*mode) {
            settings.output_flags.set(flag, on);
        } else if matches!(mode, Pty::CS7 | Pty::CS8) && on {
            settings.control_flags.remove(ControlFlags::CSIZE);
            settings.control_flags.insert(if *mode == Pty::CS7 {
                ControlFlags::CS7
            } else {
                ControlFlags::CS8
            });
        } else if *mode == Pty::PARENB {
            settings.control_flags.set(ControlFlags::PARENB, on);
        } else if *mode == Pty::PARODD {
            settings.control_flags.set(ControlFlags::PARODD, on);
        }
    }
}

fn character(mode: Pty) -> Option<Char> {
    Some(match mode {
        Pty::VINTR => Char::VINTR,
        Pty::VQUIT => Char::VQUIT,
        Pty::VERASE => Char::VERASE,
        Pty::VKILL => Char::VKILL,
        Pty::VEOF => Char::VEOF,
        Pty::VEOL => Char::VEOL,
        Pty::VEOL2 => Char::VEOL2,
        Pty::VSTART => Char::VSTART,
        Pty::VSTOP => Char::VSTOP,
        Pty::VSUSP => Char::VSUSP,
        Pty::VREPRINT => Char::VREPRINT,
        Pty::VWERASE => Char::VWERASE,
        Pty::VLNEXT => Char::VLNEXT,
        Pty::VDISCARD => Char::VDISCARD,
        _ => return None,
    })
}

fn input(mode: Pty) -> Option<InputFlags> {
    Some(match mode {
        Pty::IGNPAR => InputFlags::IGNPAR,
        Pty::PARMRK => InputFlags::PARMRK,
        Pty::INPCK => InputFlags::INPCK,
        Pty::ISTRIP => InputFlags::ISTRIP,
        Pty::INLCR => InputFlags::INLCR,
        Pty::IGNCR => InputFlags::IGNCR,
        Pty::ICRNL => InputFlags::ICRNL,
        Pty::IXON => InputFlags::IXON,
        Pty::IXANY => InputFlags::IXANY,
        Pty::IXOFF => InputFlags::IXOFF,
        Pty::IMAXBEL => InputFlags::IMAXBEL,
        Pty::IUTF8 => InputFlags::IUTF8,
        _ => return None,
    })
}

fn local(mode: Pty) -> Option<LocalFlags> {
    Some(match mode {
        Pty::ISIG => LocalFlags::ISIG,
        Pty::ICANON => LocalFlags::ICANON,
        Pty::ECHO => LocalFlags::ECHO,
        Pty::ECHOE => LocalFlags::ECHOE,
        Pty::ECHOK => LocalFlags::ECHOK,
        Pty::ECHONL => LocalFlags::ECHONL,
        Pty::NOFLSH => LocalFlags::NOFLSH,
        Pty::TOSTOP => LocalFlags::TOSTOP,
        Pty::IEXTEN => LocalFlags::IEXTEN,
        Pty::ECHOCTL => LocalFlags::ECHOCTL,
        Pty::ECHOKE => LocalFlags::ECHOKE,
        Pty::PENDIN => LocalFlags::PENDIN,
        _ => return None,
    })
}

fn output(mode: Pty) -> Option<OutputFlags> {
    Some(match mode {
        Pty::OPOST => OutputFlags::OPOST,
        Pty::ONLCR => OutputFlags::ONLCR,
        Pty::OCRNL => OutputFlags::OCRNL,
        Pty::ONOCR => OutputFlags::ONOCR,
        Pty::ONLRET => OutputFlags::ONLRET,
        _ => return None,
    })
}

/// Tells the terminal's programs of its new size.
pub(crate) fn resize(master: &AsyncFd<OwnedFd>, size: &winsize) {
    // The program has ended: nobody is left to be told.
    let _ = crate::kernel::resize(master.get_ref(), size);
}
