//! What a client asks for, as `russh` calls it.

use std::path::Path;

use nix::sys::signal::killpg;
use nix::unistd::Pid;
use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, Error, Pty, Sig};

use super::connection::{Connection, FORWARDS, Seat};
use super::forward::{self, Forward};
use super::program;
use crate::environment::Sent;
use crate::shell::Wanted;
use crate::terminal::{self, Terminal};

impl Handler for Connection {
    type Error = Error;

    async fn authentication_banner(&mut self) -> Result<Option<String>, Error> {
        Ok(self.settings.banner.clone())
    }

    async fn auth_publickey_offered(&mut self, user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, Error> {
        if self.login.judge(user, offer.public_key, offer.algorithm).is_some() {
            return Ok(Auth::Accept);
        }
        self.login.count_refusal();
        Ok(Auth::reject())
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Error> {
        match self.login.enter(user, key.public_key, key.algorithm) {
            Ok(Some(user)) => {
                program::enter(&user.account.home);
                self.user = Some(user);
                Ok(Auth::Accept)
            }
            Ok(None) => Ok(Auth::reject()),
            Err(error) => {
                super::say(&format!("ssh: cannot become '{user}': {error}"));
                Err(Error::Disconnect)
            }
        }
    }

    fn adjust_window(&mut self, channel: ChannelId, _: u32) -> u32 {
        self.inboxes.window(channel)
    }

    async fn data(&mut self, channel: ChannelId, data: &[u8], _: &mut Session) -> Result<(), Error> {
        if let Some(inbox) = self.inboxes.get(channel) {
            inbox.put(data).await;
        }
        Ok(())
    }

    async fn channel_eof(&mut self, channel: ChannelId, _: &mut Session) -> Result<(), Error> {
        if let Some(inbox) = self.inboxes.get(channel) {
            inbox.end();
        }
        Ok(())
    }

    async fn channel_close(&mut self, channel: ChannelId, _: &mut Session) -> Result<(), Error> {
        self.seats.remove(&channel);
        self.running.remove(&channel);
        self.inboxes.remove(channel);
        Ok(())
    }

    async fn channel_open_confirmation(
        &mut self,
        id: ChannelId,
        _: u32,
        _: u32,
        _: &mut Session,
    ) -> Result<(), Error> {
        // Before any data of it can come; whoever opened it takes the inbox from here.
        self.inboxes.of(id);
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Error> {
        if self.is_full() {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        }
        // Programs that have ended leave their entry here until the client closes, which it may not say again.
        let inboxes = &self.inboxes;
        self.running.retain(|id, _| inboxes.get(*id).is_some());
        let id = channel.id();
        let (_, write) = channel.split();
        self.inboxes.of(id);
        self.seats.insert(id, Seat { write, terminal: None, sent: Sent::default(), agent: false });
        reply.accept().await;
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Error> {
        let number = u16::try_from(port).unwrap_or(0);
        if !self.may_open(host, port) || number == 0 {
            reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
        } else if self.is_full() {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
        } else {
            let (link, host, resolve) = (self.link(session), host.to_owned(), self.resolve);
            link.inboxes.of(channel.id());
            tokio::spawn(async move {
                match forward::connect(&host, number, resolve).await {
                    Ok(stream) => {
                        reply.accept().await;
                        link.tcp(channel, stream).await;
                    }
                    Err(_) => {
                        link.inboxes.remove(channel.id());
                        reply.reject(ChannelOpenFailure::ConnectFailed).await;
                    }
                }
            });
        }
        Ok(())
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        channel: Channel<Msg>,
        path: &str,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Error> {
        if !self.may_use_sockets() {
            reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
        } else if self.is_full() {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
        } else {
            let (link, path) = (self.link(session), path.to_owned());
            link.inboxes.of(channel.id());
            tokio::spawn(async move {
                match forward::connect_local(&path).await {
                    Ok(stream) => {
                        reply.accept().await;
                        let (read, write) = stream.into_split();
                        link.pump(channel, read, write).await;
                    }
                    Err(_) => {
                        link.inboxes.remove(channel.id());
                        reply.reject(ChannelOpenFailure::ConnectFailed).await;
                    }
                }
            });
        }
        Ok(())
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        term: &str,
        columns: u32,
        rows: u32,
        width: u32,
        height: u32,
        modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Error> {
        let allowed = self.user.as_ref().is_some_and(|user| user.options.terminal);
        let Some(seat) = self.seats.get_mut(&channel).filter(|seat| allowed && seat.terminal.is_none())
        else {
            return session.channel_failure(channel);
        };
        match Terminal::open(term, terminal::size(columns, rows, width, height), modes) {
            Ok(terminal) => {
                seat.terminal = Some(terminal);
                session.channel_success(channel)
            }
            Err(error) => {
                super::say(&format!("ssh: no terminal: {error}"));
                session.channel_failure(channel)
            }
        }
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _: bool,
        _: &str,
        _: &str,
        _: u32,
        session: &mut Session,
    ) -> Result<(), Error> {
        session.channel_failure(channel)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), Error> {
        let taken = self.seats.get_mut(&channel).is_some_and(|seat| seat.sent.accept(name, value));
        if taken { session.channel_success(channel) } else { session.channel_failure(channel) }
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Error> {
        self.launch(channel, Wanted::Shell, session)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Error> {
        self.launch(channel, Wanted::Command(command.to_vec()), session)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Error> {
        if name == "sftp" {
            return self.launch(channel, Wanted::Sftp, session);
        }
        session.channel_failure(channel)
    }

    async fn window_change_request(
        &mut self,
        channel: ChannelId,
        columns: u32,
        rows: u32,
        width: u32,
        height: u32,
        session: &mut Session,
    ) -> Result<(), Error> {
        let size = terminal::size(columns, rows, width, height);
        let running = self.running.get(&channel).and_then(|running| running.terminal.upgrade());
        let waiting =
            self.seats.get(&channel).and_then(|seat| seat.terminal.as_ref()).map(|terminal| &terminal.master);
        match running.as_deref().or(waiting) {
            Some(master) => {
                terminal::resize(master, &size);
                session.channel_success(channel)
            }
            None => session.channel_failure(channel),
        }
    }

    async fn signal(&mut self, channel: ChannelId, signal: Sig, _: &mut Session) -> Result<(), Error> {
        // A forced command is not the client's to signal.
        let free = self.user.as_ref().is_some_and(|user| user.options.command.is_none());
        let group = self
            .running
            .get(&channel)
            .filter(|_| free && self.inboxes.get(channel).is_some())
            .and_then(|running| running.group);
        if let (Some(group), Some(signal)) = (group, program::signal_of(&signal)) {
            let _ = killpg(Pid::from_raw(group), signal);
        }
        Ok(())
    }

    async fn agent_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<bool, Error> {
        let allowed = self.user.as_ref().is_some_and(|user| user.options.agent);
        if !allowed || !self.seats.contains_key(&channel) || self.open_agent(session).is_err() {
            return Ok(false);
        }
        if let Some(seat) = self.seats.get_mut(&channel) {
            seat.agent = true;
        }
        Ok(true)
    }

    async fn tcpip_forward(
        &mut self,
        address: &str,
        port: &mut u32,
        session: &mut Session,
    ) -> Result<bool, Error> {
        let Ok(number) = u16::try_from(*port) else { return Ok(false) };
        if !self.may_listen(address, *port) {
            return Ok(false);
        }
        match Forward::tcp(&self.link(session), address, number).await {
            Ok((forward, bound)) => {
                *port = bound.into();
                self.listening.insert((address.to_owned(), bound.into()), forward);
                Ok(true)
            }
            Err(_) => Ok(false),
        }
    }

    async fn cancel_tcpip_forward(
        &mut self,
        address: &str,
        port: u32,
        _: &mut Session,
    ) -> Result<bool, Error> {
        Ok(self.listening.remove(&(address.to_owned(), port)).is_some())
    }

    async fn streamlocal_forward(&mut self, path: &str, session: &mut Session) -> Result<bool, Error> {
        if !self.may_use_sockets() || self.listening.len() + self.sockets.len() >= FORWARDS {
            return Ok(false);
        }
        match Forward::local(&self.link(session), Path::new(path)) {
            Ok(forward) => {
                self.sockets.insert(path.to_owned(), forward);
                Ok(true)
            }
            Err(_) => Ok(false),
        }
    }

    async fn cancel_streamlocal_forward(&mut self, path: &str, _: &mut Session) -> Result<bool, Error> {
        Ok(self.sockets.remove(path).is_some())
    }
}
