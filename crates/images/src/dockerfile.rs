//! Dockerfiles, as far as a host must understand them before it lets its engine build one.
//!
//! The engine itself fetches the URLs of `ADD`, in the host's own network, and takes short hexadecimal texts behind `FROM` for
//! the numbers of images that may be anybody's. So what such instructions name is known here, or refused. All else is the
//! engine's business: what it does not know, it says.

use std::collections::BTreeMap;

use testyard_fetch::text::printable;
use testyard_model::image::ImageName;

/// The longest Dockerfile, in bytes.
pub(crate) const LONGEST: usize = 256 << 10;

/// The most instructions: engines stack 127 layers at most, and each instruction costs time.
pub const MOST_INSTRUCTIONS: usize = 120;

/// The longest instruction, in bytes: here-documents of whole programs are some thousand.
const LONGEST_INSTRUCTION: usize = 64 << 10;

/// A Dockerfile that is not built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DockerfileError {
    /// There is nothing to begin with.
    #[error("it has no FROM")]
    Empty,
    /// It has too many instructions.
    #[error("it has more than the {MOST_INSTRUCTIONS} instructions that are built: join some RUNs by &&")]
    TooMany,
    /// An instruction has no end.
    #[error("line {line}: an instruction is longer than {LONGEST_INSTRUCTION} bytes")]
    TooLong {
        /// Where it begins, from 1.
        line: usize,
    },
    /// An instruction is refused.
    #[error("line {line}: {instruction}: {why}")]
    Refused {
        /// Where it begins, from 1.
        line: usize,
        /// Which.
        instruction: &'static str,
        /// Why, and what to write instead.
        why: String,
    },
}

/// A Dockerfile that may be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Judged {
    /// With a label in each stage.
    pub(crate) text: String,
    /// The images that must be there.
    pub(crate) bases: Vec<ImageName>,
}

/// An instruction with what follows it, in one line.
struct Instruction {
    word: String,
    rest: String,
    /// Where it begins, from 0, and the line behind its end.
    first: usize,
    end: usize,
}

/// Judges a Dockerfile. `label`, `name=value`, comes into every stage.
pub(crate) fn judge(text: &str, label: &str) -> Result<Judged, DockerfileError> {
    let lines: Vec<&str> = text.lines().collect();
    let instructions = instructions(&lines)?;
    let mut judge = Judge::default();
    // Where a stage begins, its label goes.
    let mut labels = Vec::new();
    for instruction in &instructions {
        let refused = |(name, why): (&'static str, String)| DockerfileError::Refused {
            line: instruction.first + 1,
            instruction: name,
            why,
        };
        if judge.take(instruction).map_err(refused)? {
            labels.push(instruction.end);
        }
    }
    if labels.is_empty() {
        return Err(DockerfileError::Empty);
    }
    let mut out = String::with_capacity(text.len() + labels.len() * (label.len() + 8));
    for (number, line) in lines.iter().enumerate() {
        if labels.contains(&number) {
            out.push_str(&format!("LABEL {label}\n"));
        }
        out.push_str(line);
        out.push('\n');
    }
    if labels.contains(&lines.len()) {
        out.push_str(&format!("LABEL {label}\n"));
    }
    Ok(Judged { text: out, bases: judge.bases })
}

/// The instructions of some lines. Comments and empty lines count for nothing, also within an instruction.
fn instructions(lines: &[&str]) -> Result<Vec<Instruction>, DockerfileError> {
    let escape = escape(lines);
    let is_nothing = |line: &str| line.trim_start().is_empty() || line.trim_start().starts_with('#');
    let mut all = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        if is_nothing(lines[at]) {
            at += 1;
            continue;
        }
        let first = at;
        let mut whole = String::new();
        loop {
            let line = lines[at];
            at += 1;
            let goes_on = line.trim_end().strip_suffix(escape);
            whole.push_str(goes_on.unwrap_or(line));
            if whole.len() > LONGEST_INSTRUCTION {
                return Err(DockerfileError::TooLong { line: first + 1 });
            }
            if goes_on.is_none() {
                break;
            }
            while at < lines.len() && is_nothing(lines[at]) {
                at += 1;
            }
            if at == lines.len() {
                break;
            }
        }
        if all.len() == MOST_INSTRUCTIONS {
            return Err(DockerfileError::TooMany);
        }
        let whole = whole.trim();
        let (word, rest) = whole.split_once(char::is_whitespace).unwrap_or((whole, ""));
        all.push(Instruction {
            word: word.to_ascii_uppercase(),
            rest: rest.trim().to_owned(),
            first,
            end: at,
        });
    }
    Ok(all)
}

/// What continues a line: a directive in the first lines may say so.
fn escape(lines: &[&str]) -> char {
    for line in lines {
        let Some(comment) = line.trim().strip_prefix('#') else { break };
        let Some((name, value)) = comment.split_once('=') else { break };
        if name.trim().eq_ignore_ascii_case("escape") && value.trim() == "`" {
            return '`';
        }
    }
    '\\'
}

/// What has been seen of a Dockerfile.
#[derive(Default)]
struct Judge {
    bases: Vec<ImageName>,
    /// ARGs before the first stage, which FROM may use.
    arguments: BTreeMap<String, String>,
    stages: Vec<Option<String>>,
}

type Refusal = (&'static str, String);

impl Judge {
    /// Whether a stage begins with it.
    fn take(&mut self, instruction: &Instruction) -> Result<bool, Refusal> {
        let rest = instruction.rest.as_str();
        match instruction.word.as_str() {
            "FROM" => self.from(rest).map(|()| true).map_err(|why| ("FROM", why)),
            "ARG" if self.stages.is_empty() => {
                let (name, value) = rest.split_once('=').unwrap_or((rest, ""));
                let value = value.trim_matches(['"', '\'']);
                let value = self.substituted(value).map_err(|why| ("ARG", why))?;
                self.arguments.insert(name.trim().to_owned(), value);
                Ok(false)
            }
            "ADD" => add(rest).map(|()| false).map_err(|why| ("ADD", why)),
            "COPY" => self.copy(rest).map(|()| false).map_err(|why| ("COPY", why)),
            "RUN" => run(rest).map(|()| false).map_err(|why| ("RUN", why)),
            "ONBUILD" => Err((
                "ONBUILD",
                "it acts only on images that are made of this one, and there are none".to_owned(),
            )),
            _ => Ok(false),
        }
    }

    fn from(&mut self, rest: &str) -> Result<(), String> {
        let mut words = rest.split_whitespace().skip_while(|word| word.starts_with("--"));
        let asked = words.next().ok_or("it names no image")?;
        let name = match (words.next(), words.next(), words.next()) {
            (None, ..) => None,
            (Some(word), Some(name), None) if word.eq_ignore_ascii_case("as") => {
                Some(name.to_ascii_lowercase())
            }
            _ => return Err("write FROM IMAGE, or FROM IMAGE AS NAME".to_owned()),
        };
        let image = self.substituted(asked)?;
        if !self.is_stage(&image) && image != "scratch" {
            self.base(&image)?;
        }
        self.stages.push(name);
        Ok(())
    }

    fn copy(&mut self, rest: &str) -> Result<(), String> {
        if rest.split_whitespace().any(|word| word.starts_with("<<")) {
            return Err(
                "here-documents are not known: put the file into an archive with the Dockerfile".to_owned()
            );
        }
        for option in rest.split_whitespace().take_while(|word| word.starts_with("--")) {
            let Some(from) = option.strip_prefix("--from=") else { continue };
            let is_number = from.parse::<usize>().is_ok_and(|stage| stage < self.stages.len());
            if !is_number && !self.is_stage(from) {
                self.base(from)?;
            }
        }
        Ok(())
    }

    fn is_stage(&self, name: &str) -> bool {
        self.stages.iter().flatten().any(|stage| stage.eq_ignore_ascii_case(name))
    }

    /// An image that is needed.
    fn base(&mut self, text: &str) -> Result<(), String> {
        let image: ImageName =
            text.parse().map_err(|error: testyard_model::image::ImageNameError| error.to_string())?;
        // Without a tag it could be the beginning of an image's number.
        let tagged = text.rsplit('/').next().is_some_and(|last| last.contains([':', '@']));
        if !tagged && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(format!("{text:?} may be the number of an image: write {text}:latest"));
        }
        if !self.bases.contains(&image) {
            self.bases.push(image);
        }
        Ok(())
    }

    /// A text with its variables replaced: `$NAME`, `${NAME}`, `${NAME:-otherwise}`, `${NAME:+instead}`.
    fn substituted(&self, text: &str) -> Result<String, String> {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            let (name, how, behind) = match after.strip_prefix('{') {
                Some(inside) => {
                    let (inside, behind) = inside.split_once('}').ok_or("a ${ has no }")?;
                    let (name, how) =
                        inside.split_once(':').map_or((inside, None), |(name, how)| (name, Some(how)));
                    (name, how, behind)
                }
                None => {
                    let end =
                        after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
                    (&after[..end], None, &after[end..])
                }
            };
            let value = self.arguments.get(name).filter(|value| !value.is_empty());
            out.push_str(match (value, how.map(|how| how.split_at_checked(1).unwrap_or(("", "")))) {
                (Some(value), None | Some(("-", _))) => value,
                (None, Some(("-", otherwise))) => otherwise,
                (Some(_), Some(("+", instead))) => instead,
                (None, Some(("+", _))) => "",
                _ => {
                    let name = printable(name.as_bytes(), 40);
                    return Err(format!(
                        "nothing says what ${name} is: give it a default, like ARG {name}=12"
                    ));
                }
            });
            if out.len() > LONGEST_INSTRUCTION {
                return Err("its variables make it too long".to_owned());
            }
            rest = behind;
        }
        out.push_str(rest);
        Ok(out)
    }
}

/// ADD, of which only what is in the archive is taken: of whatever could become a URL after the engine has read it, nothing.
fn add(rest: &str) -> Result<(), String> {
    const REMEDY: &str =
        "let a RUN fetch it, which has the network of a node, or put it into an archive with the Dockerfile";
    if rest.contains("://") || rest.contains("git@") {
        return Err(format!("URLs are not fetched: {REMEDY}"));
    }
    let is_plain = |c: char| c.is_alphanumeric() || " \t._/*?+@%:=,-~[]\"".contains(c);
    let quotes_of_a_list = rest.trim_start().starts_with('[') && rest.trim_end().ends_with(']');
    match rest.chars().find(|c| !is_plain(*c) || (*c == '"' && !quotes_of_a_list)) {
        Some(odd) => Err(format!(
            "what it adds must be written out, without {odd:?}, so that it is no URL: use COPY, or {REMEDY}"
        )),
        None => Ok(()),
    }
}

fn run(rest: &str) -> Result<(), String> {
    if rest.starts_with("<<") {
        return Err("here-documents are not known: write RUN with && and \\ at the ends of lines".to_owned());
    }
    match rest.split_whitespace().next().filter(|word| word.starts_with("--")) {
        Some(option) => {
            let option = printable(option.split('=').next().unwrap_or_default().as_bytes(), 40);
            Err(format!("{option} is not known: leave it out"))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABEL: &str = "testyard.build=main";

    fn judged(text: &str) -> Judged {
        judge(text, LABEL).unwrap()
    }

    fn refused(text: &str) -> String {
        judge(text, LABEL).unwrap_err().to_string()
    }

    fn bases(text: &str) -> Vec<String> {
        judged(text).bases.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_stage_gets_a_label() {
        let text = "# syntax=x\nFROM debian:12 AS build\nRUN a \\\n  # no\n\n  && b\nFROM \\\n scratch\nCOPY --from=build /a /b";
        let judged = judged(text);
        let expected = "# syntax=x\nFROM debian:12 AS build\nLABEL testyard.build=main\nRUN a \\\n  # no\n\n  && b\nFROM \\\n \
                        scratch\nLABEL testyard.build=main\nCOPY --from=build /a /b\n";
        assert_eq!(judged.text, expected);
        assert_eq!(judged.bases, ["debian:12".parse().unwrap()]);
        assert!(
            super::judge("FROM a:1", LABEL).unwrap().text.ends_with("FROM a:1\nLABEL testyard.build=main\n")
        );
        assert!(
            super::judge("from a:1\r\nRUN b\r\n", LABEL)
                .unwrap()
                .text
                .contains("LABEL testyard.build=main\nRUN b")
        );
    }

    #[test]
    fn bases_are_known() {
        assert_eq!(
            bases(
                "ARG V=12\nARG BASE=\"debian:${V}\"\nFROM --platform=linux/amd64 $BASE\nFROM ${X:-alpine}:3\nFROM a:1 as b\nFROM b\nCOPY --chown=1 --from=tools:2 /a /\nCOPY --from=0 a b\nFROM scratch"
            ),
            ["debian:12", "alpine:3", "a:1", "tools:2"]
        );
        assert_eq!(bases("#escape=`\nFROM `\n debian:12\nRUN dir \\\nRUN b"), ["debian:12"]);
        for (text, why) in [
            ("FROM $X", "nothing says what $X is"),
            ("FROM deadbeef", "number of an image: write deadbeef:latest"),
            ("FROM sha256:0123", "number of an image"),
            ("FROM built.testyard.invalid/main:1", "Testyard's own"),
            ("FROM debian:12\nCOPY --from=deadbeef /a /", "line 2: COPY: \"deadbeef\""),
            ("FROM debian:12\nCOPY --from=$X /a /", "not the name of an image"),
            ("FROM", "names no image"),
            ("FROM a:1 b c d", "AS NAME"),
            ("RUN x", "has no FROM"),
            ("", "has no FROM"),
            ("FROM ${A", "no }"),
        ] {
            assert!(refused(text).contains(why), "{text}: {}", refused(text));
        }
    }

    #[test]
    fn nothing_is_added_from_elsewhere() {
        let add = |rest: &str| format!("FROM a:1\nADD {rest}\n");
        for good in ["a.tar.gz /opt/", "--chown=1:1 src/* /x", "[\"a b\", \"/c d/\"]", "é /x"] {
            judged(&add(good));
        }
        for bad in [
            "http://169.254.169.254/x /x",
            "HTTPS://e/x /x",
            "$URL /x",
            "${URL} /x",
            "ht\\\ntp://e/x /x",
            "h\"t\"tp:/",
            "'http:'//e /x",
            "ht\\tp:\\/\\/e /x",
            "[\"http:\\u002f\\u002fe/x\", \"/x\"]",
            "git@github.com:a/b.git /x",
            "<<EOF /x",
        ] {
            let why = refused(&add(bad));
            assert!(why.starts_with("line 2: ADD: "), "{bad}: {why}");
        }
        assert!(refused("FROM a:1\nONBUILD ADD http://e /x").contains("ONBUILD"));
    }

    #[test]
    fn what_engines_without_buildkit_do_not_know_is_said() {
        assert!(refused("FROM a:1\nRUN --mount=type=cache,target=/x y").contains("--mount is not known"));
        assert!(refused("FROM a:1\nRUN <<EOF\necho\nEOF").contains("here-documents"));
        assert!(refused("FROM a:1\nCOPY <<EOF /x\nhi\nEOF").contains("here-documents"));
    }

    #[test]
    fn there_are_bounds() {
        let many = format!("FROM a:1\n{}", "RUN x\n".repeat(MOST_INSTRUCTIONS));
        assert!(refused(&many).contains("120 instructions"));
        let long = format!("FROM a:1\nRUN {}\n", "x \\\n".repeat(LONGEST_INSTRUCTION));
        assert!(refused(&long).contains("line 2: an instruction is longer"));
        let doubling =
            (0..60).fold("ARG A=xxxxxxxx\n".to_owned(), |text, _| text + "ARG A=$A$A\n") + "FROM $A";
        assert!(refused(&doubling).contains("too long"), "{}", refused(&doubling));
    }
}
