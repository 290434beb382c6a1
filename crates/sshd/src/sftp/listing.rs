//! A line of a folder as `ls -l` writes it; clients show it to people. Pure.

use std::os::unix::fs::MetadataExt as _;

use super::owners::Owners;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The line for `name`; `now` in seconds since 1970 decides whether a time is shown with its year. Times are UTC.
pub(super) fn line(name: &[u8], found: &std::fs::Metadata, owners: &Owners, now: i64) -> Vec<u8> {
    let head = format!(
        "{} {:>4} {:<8} {:<8} {:>8} {} ",
        mode(found.mode()),
        found.nlink(),
        owners.user(found.uid()),
        owners.group(found.gid()),
        found.size(),
        time(found.mtime(), now)
    );
    let mut line = head.into_bytes();
    line.extend(name);
    line
}

fn mode(mode: u32) -> String {
    let kind = match mode & 0o170_000 {
        0o040_000 => 'd',
        0o120_000 => 'l',
        0o020_000 => 'c',
        0o060_000 => 'b',
        0o010_000 => 'p',
        0o140_000 => 's',
        _ => '-',
    };
    let mut text = String::from(kind);
    for (shift, special, on, off) in [(6, 0o4000, 's', 'S'), (3, 0o2000, 's', 'S'), (0, 0o1000, 't', 'T')] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (mode & special != 0, bits & 1 != 0) {
            (true, true) => on,
            (true, false) => off,
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

fn time(at: i64, now: i64) -> String {
    let (year, month, day) = date(at.div_euclid(86_400));
    let name = MONTHS[usize::try_from(month - 1).unwrap_or(0) % 12];
    let seconds = at.rem_euclid(86_400);
    // Half a year, as in ls.
    if (now - 15_778_476..=now).contains(&at) {
        format!("{name} {day:>2} {:02}:{:02}", seconds / 3600, seconds % 3600 / 60)
    } else {
        format!("{name} {day:>2}  {year}")
    }
}

/// Year, month and day of a day since 1970, by the civil calendar counted from a March.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_written_as_ls_does() {
        assert_eq!(mode(0o100_644), "-rw-r--r--");
        assert_eq!(mode(0o040_755), "drwxr-xr-x");
        assert_eq!(mode(0o104_755), "-rwsr-xr-x");
        assert_eq!(mode(0o041_777), "drwxrwxrwt");
        assert_eq!(mode(0o102_640), "-rw-r-S---");
        assert_eq!(mode(0o120_777), "lrwxrwxrwx");
    }

    #[test]
    fn times_have_the_year_when_they_are_far() {
        let leap = 951_782_400; // 2000-02-29
        assert_eq!(time(leap, leap + 60), "Feb 29 00:00");
        assert_eq!(time(leap, leap + 86_400 * 365), "Feb 29  2000");
        assert_eq!(time(leap + 86_400, leap), "Mar  1  2000");
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(date(-1), (1969, 12, 31));
        assert_eq!(date(20_779), (2026, 11, 22));
    }
}
