//! Does an SSH server answer on port 22?

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Whether something on 127.0.0.1 or ::1 greets as an SSH server does.
pub(crate) fn answers() -> bool {
    [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]
        .into_iter()
        .any(|address| greets(SocketAddr::new(address, 22)))
}

fn greets(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_millis(500))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        let mut greeting = [0; 4];
        stream.read_exact(&mut greeting)?;
        // A client that leaves without a word is worth a warning in sshd's log.
        let _ = stream.write_all(b"SSH-2.0-testyard_probe\r\n");
        Ok(&greeting == b"SSH-")
    };
    ask().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn only_an_ssh_greeting_counts() {
        for (greeting, expected) in [(&b"SSH-2.0-x\r\n"[..], true), (b"220 smtp\r\n", false), (b"SS", false)]
        {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let server =
                std::thread::spawn(move || listener.accept().unwrap().0.write_all(greeting).unwrap());
            assert_eq!(greets(address), expected, "{greeting:?}");
            server.join().unwrap();
            assert!(!greets(address));
        }
    }
}
