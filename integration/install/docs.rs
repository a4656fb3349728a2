//! Writes completions and manual pages into a directory. Their source is the definition of
//! the command line in `src/cli`.

#![allow(
    clippy::disallowed_methods,
    reason = "the bans protect the runtime, not a program that writes its documentation"
)]

use clap::{Command, builder::PossibleValuesParser};
use clap_complete::Shell;
use clap_mangen::Man;
use std::fs::write;
use std::io::{Error, Result};
use std::path::Path;

/// A placeholder for the names of the containers in the generated text.
const IDS: &str = "@IDS@";
const LIST: &str = "$(corten list --quiet 2>/dev/null)";

fn main() -> Result<()> {
    let dir = std::env::args_os().nth(1).ok_or_else(|| Error::other("usage: docs DIRECTORY"))?;
    let dir = Path::new(&dir);
    std::fs::create_dir_all(dir)?;
    completions(dir)?;
    manual_pages(dir)
}

/// Returns whether the verb takes the name of an existing container.
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

/// Returns completions for arguments. clap's generator for fish writes only those of flags.
fn fish_values(verbs: &str) -> String {
    let list = LIST.trim_start_matches('$');
    format!(
        "complete -c corten -n \"__fish_corten_using_subcommand {verbs}\" -f -a \"{list}\"\n\
         complete -c corten -n \"__fish_corten_using_subcommand mounts\" -f -a \"add remove\"\n"
    )
}

fn manual_pages(dir: &Path) -> Result<()> {
    // The flag --help shows nothing that the pages do not show.
    let command = corten::cli::command().disable_help_flag(true);
    let version = format!("corten {}", env!("CARGO_PKG_VERSION"));
    let page = |command: Command, name: &str, more: &str| {
        let man = Man::new(command).title(name.to_uppercase()).section("8").source(version.as_str());
        let mut out = Vec::new();
        man.manual("System Administration").render(&mut out)?;
        let text = String::from_utf8(out).map_err(Error::other)?;
        // A page has no date, so that the same source always gives the same text.
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

/// The sections that clap does not generate.
const MORE: &str = r#".SH FLAGS
A long flag may begin with one dash instead of two.
A switch may have a value
.RB ( \-\-detach=false ).
If a flag with one value is repeated, the last value counts.
An empty path counts as no path.
.SH EXIT STATUS
0 on success, 1 on failure.
.B run
and
.B exec
return the exit status of the process that they ran, or 128 plus the number of the signal that killed it.
.B exec
returns 255 if the process could not run.
.B wait
returns the exit status of the container's init process.
.SH ENVIRONMENT
.TP
.B XDG_RUNTIME_DIR
Without privilege, corten keeps the state of containers in the folder
.I corten
of this directory.
.TP
.B NOTIFY_SOCKET
The socket of a service manager. corten passes the readiness message of the payload to it.
.TP
.BR LISTEN_FDS ", " LISTEN_FDNAMES
The payload inherits the file descriptors that a service manager has opened.
.SH FILES
.TP
.I /run/corten
The state of the containers. The flag
.B \-\-root
changes the directory. The default for a user without privilege is
.IR $XDG_RUNTIME_DIR/corten .
.TP
.IR config.json ", " rootfs
The bundle, as the runtime specification of the Open Container Initiative defines it.
.SH SEE ALSO
.BR runc (8),
.BR crun (1)
"#;
