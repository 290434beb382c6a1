//! Programs that events start and stop.

use testyard_model::service::Program;
use testyard_model::suggest::closest;

use super::call::{Call, Complaint, Taken, short};
use super::drafts::{Object, ProgramDraft};
use super::nodes::{of_shell, unnamed};
use super::reader::Reader;
use super::units;
use crate::csh;

type Outcome = Result<Taken, Complaint>;

/// `$node program-agent -command COMMAND …`.
pub(super) fn program_agent(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let node = call.node()?;
    let mut program = no_program();
    let taken = program_options(&mut program, call.arguments)?;
    reader.made(call, Object::Program(reader.programs.len()));
    let name = call.made.unwrap_or_default().to_owned();
    reader.programs.push(ProgramDraft { name, position: call.position, node: Some(node), program });
    Ok(taken)
}

/// `new Program $ns`: what it runs, and where, is set afterwards.
pub(super) fn new_program(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    reader.made(call, Object::Program(reader.programs.len()));
    let name = call.made.unwrap_or_default().to_owned();
    reader.programs.push(ProgramDraft { name, position: call.position, node: None, program: no_program() });
    Ok(Taken::AsListed)
}

fn no_program() -> Program {
    Program {
        client_id: unnamed(),
        command: String::new(),
        directory: None,
        timeout: None,
        expected_exit: None,
    }
}

pub(super) fn program_set(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let [variable, value] = call.exactly()?;
    let Object::Program(program) = call.object else {
        return Err(Complaint::Broken("its program could not be made".to_owned()));
    };
    if variable == "node" {
        let node = reader.node(value)?;
        reader.programs[program].node = Some(node);
        return Ok(Taken::AsListed);
    }
    let option = match variable.trim_end_matches('_') {
        "command" => "-command",
        "dir" => "-dir",
        "timeout" => "-timeout",
        "expected-exit-code" | "expected_exit_code" => "-expected-exit-code",
        _ => return Ok(Taken::Ignored(format!("a program has no {}", short(variable)))),
    };
    program_option(&mut reader.programs[program].program, option, value)
}

/// Options, each with its value.
pub(super) fn program_options(program: &mut Program, given: &[String]) -> Outcome {
    let mut taken = Taken::AsListed;
    for pair in given.chunks(2) {
        let [option, value] = pair else {
            return Err(Complaint::error(format!("{} has no value", short(&pair[0]))));
        };
        let this = program_option(program, option, value)?;
        if taken == Taken::AsListed {
            taken = this;
        }
    }
    Ok(taken)
}

fn program_option(program: &mut Program, option: &str, value: &str) -> Outcome {
    match option {
        "-command" if value.contains('\n') => {
            return Err(Complaint::error("the command of a program has a line end")
                .suggest("part its commands with ;"));
        }
        "-command" => {
            let command = csh::to_sh(value);
            let taken = of_shell(&command);
            program.command = command.text;
            return Ok(taken);
        }
        "-dir" => program.directory = Some(value.to_owned()),
        "-timeout" => program.timeout = Some(units::seconds(value)?),
        "-expected-exit-code" => {
            program.expected_exit = Some(
                value.parse().map_err(|_| Complaint::error(format!("{:?} is no exit code", short(value))))?,
            );
        }
        "-tag" => {}
        _ => {
            const OPTIONS: [&str; 4] = ["-command", "-dir", "-timeout", "-expected-exit-code"];
            let error = Complaint::error(format!("a program has no option {:?}", short(option)));
            return Err(match closest(option, OPTIONS) {
                Some(meant) => error.suggest(format!("did you mean {meant}?")),
                None => error.suggest(format!("there are {}", OPTIONS.join(", "))),
            });
        }
    }
    Ok(Taken::AsListed)
}
