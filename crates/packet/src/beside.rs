//! What the kernel says beside a frame: control messages.

#[derive(Debug, Default)]
pub(crate) struct Beside {
    pub(crate) length: Option<u32>,
    /// Protocol and tag.
    pub(crate) vlan: Option<(u16, u16)>,
    pub(crate) came: Option<u64>,
}

impl Beside {
    /// Reads the control messages of a header.
    ///
    /// # Safety
    /// The kernel has filled the header's control buffer and set its length, and the buffer is alive and aligned to 8.
    pub(crate) unsafe fn read(header: &libc::msghdr) -> Self {
        let mut found = Self::default();
        // SAFETY: as the caller says.
        let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
        while !next.is_null() {
            // SAFETY: the macros stay inside the buffer; each kind of message has the type that is read.
            unsafe {
                let data = libc::CMSG_DATA(next);
                match ((*next).cmsg_level, (*next).cmsg_type) {
                    (libc::SOL_PACKET, libc::PACKET_AUXDATA) => {
                        let data = data.cast::<libc::tpacket_auxdata>().read_unaligned();
                        found.length = Some(data.tp_len);
                        found.vlan = vlan(&data);
                    }
                    (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                        let time = data.cast::<libc::timespec>().read_unaligned();
                        let seconds = time.tv_sec.cast_unsigned() * 1_000_000_000;
                        found.came = Some(seconds + time.tv_nsec.cast_unsigned());
                    }
                    _ => {}
                }
                next = libc::CMSG_NXTHDR(header, next);
            }
        }
        found
    }
}

fn vlan(data: &libc::tpacket_auxdata) -> Option<(u16, u16)> {
    let is_valid = data.tp_status & libc::TP_STATUS_VLAN_VALID != 0;
    let has_protocol = data.tp_status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
    let protocol = if has_protocol { data.tp_vlan_tpid } else { libc::ETH_P_8021Q as u16 };
    is_valid.then_some((protocol, data.tp_vlan_tci))
}
