//! Writes completions and manual pages, from the very definitions by which corten
//! reads its command line, into the directory that is given.

#![allow(clippy::disallowed_methods, reason = "the bans protect the runtime, not files that are made for it")]

use clap::{Command, builder::PossibleValuesParser};
use clap_complete::Shell;
use clap_mangen::Man;
use std::fs::write;
use std::io::{Error, Result};
use std::path::Path;

/// Stands for the names of the containers, until the text is written.
const IDS: &str = "@IDS@";
const LIST: &str = "$(corten list --quiet 2>/dev/null)";

fn main() -> Result<()> {
    let dir = std::env::args_os().nth(1).ok_or_else(|| Error::other("usage: docs DIRECTORY"))?;
    let dir = Path::new(&dir);
    std::fs::create_dir_all(dir)?;
    completions(dir)?;
    manual_pages(dir)
}

/// The arguments that name a container that is there.
fn takes_id(verb: &Command) -> bool {
    verb.get_arguments().any(is_id)
}

fn is_id(arg: &clap::Arg) -> bool {
    arg.get_help().is_some_and(|help| help.to_string() == "Name of the container")
}

fn completions(dir: &Path) -> Result<()> {
    let command = corten::cli::command();
    let verbs: Vec<String> = command
        .get_subcommands()
        .filter(|verb| takes_id(verb))
        .map(|verb| verb.get_name().to_owned())
        .collect();
    let mut command = command.mut_subcommands(|verb| {
        verb.mut_args(
            |arg| if is_id(&arg) { arg.value_parser(PossibleValuesParser::new([IDS])) } else { arg },
        )
    });
    let mut text = |shell: Shell| {
        let mut out = Vec::new();
        clap_complete::generate(shell, &mut command, "corten", &mut out);
        String::from_utf8(out).map_err(Error::other)
    };
    write(dir.join("corten.bash"), text(Shell::Bash)?.replace(IDS, LIST))?;
    let ids = format!("\n_corten_ids() {{\n    compadd -- ${{(f)\"{LIST}\"}}\n}}\n\nif [ \"$funcstack");
    let zsh =
        text(Shell::Zsh)?.replace(&format!("({IDS})"), "_corten_ids").replace("\nif [ \"$funcstack", &ids);
    write(dir.join("_corten"), zsh)?;
    let fish = text(Shell::Fish)? + &fish_values(&verbs.join(" "));
    write(dir.join("corten.fish"), fish)
}

/// Fish's generator leaves out the values of what is no flag.
fn fish_values(verbs: &str) -> String {
    let list = LIST.trim_start_matches('$');
    format!(
        "complete -c corten -n \"__fish_corten_using_subcommand {verbs}\" -f -a \"{list}\"\n\
         complete -c corten -n \"__fish_corten_using_subcommand mounts\" -f -a \"add remove\"\n"
    )
}

fn manual_pages(dir: &Path) -> Result<()> {
    // It says no more than the pages do.
    let command = corten::cli::command().disable_help_flag(true);
    let version = format!("corten {}", env!("CARGO_PKG_VERSION"));
    let page = |command: Command, name: &str, more: &str| {
        let man = Man::new(command).title(name.to_uppercase()).section("8").source(version.as_str());
        let mut out = Vec::new();
        man.manual("System Administration").render(&mut out)?;
        let text = String::from_utf8(out).map_err(Error::other)?;
        // The same text comes of the same source on any day: it has no date.
        let text = text.replacen(" 8  \"", " 8 \"\" \"", 1);
        write(dir.join(format!("{name}.8")), text + more)
    };
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
        let (name, usage) = (format!("corten-{}", verb.get_name()), format!("corten {}", verb.get_name()));
        // The names in a definition live as long as the program.
        let verb = verb.clone().name(&*name.clone().leak()).bin_name(usage).disable_help_flag(true);
        page(verb, &name, ".SH SEE ALSO\n.BR corten (8)\n")?;
    }
    page(command, "corten", MORE)
}

/// What the definitions don't say.
const MORE: &str = r#".SH FLAGS
One dash is as good as two, a switch may have a value
.RB ( \-\-detach=false ),
a flag may be given again, when the last one counts, and an empty path is as good as none.
.SH EXIT STATUS
0 if all went well, 1 if not.
.B run
and
.B exec
end with the exit status of the process that they ran, or with 128 and the number of the signal that ended it;
.B exec
ends with 255 where it could not be run.
.B wait
ends with the status of the container's process.
.SH ENVIRONMENT
.TP
.B XDG_RUNTIME_DIR
Where a user's own containers have their state.
.TP
.B NOTIFY_SOCKET
The socket of a service manager, which is told when the payload says that it is ready.
.TP
.BR LISTEN_FDS ", " LISTEN_FDNAMES
Descriptors that a service manager has opened are passed on to the payload.
.SH FILES
.TP
.I /run/corten
The state of the containers, unless
.B \-\-root
says otherwise; a user's own is in
.IR $XDG_RUNTIME_DIR/corten .
.TP
.IR config.json ", " rootfs
The bundle, as the runtime specification of the Open Container Initiative has it.
.SH SEE ALSO
.BR runc (8),
.BR crun (1)
"#;
