//! `hooks`: programs that run at fixed points of a container's life (config.md
//! "POSIX-platform Hooks").

use super::c_string;
use super::config::{Hook as ConfigHook, Hooks as ConfigHooks};
use super::plan::{Hook, Hooks};
use crate::error::{Error, Result};

/// Resolves the hooks. Refuses a path that is not absolute, and a timeout below one
/// second.
pub fn hooks(config: &ConfigHooks) -> Result<Hooks> {
    Ok(Hooks {
        prestart: resolve_list(&config.prestart, "/hooks/prestart")?,
        create_runtime: resolve_list(&config.create_runtime, "/hooks/createRuntime")?,
        create_container: resolve_list(&config.create_container, "/hooks/createContainer")?,
        start_container: resolve_list(&config.start_container, "/hooks/startContainer")?,
        poststart: resolve_list(&config.poststart, "/hooks/poststart")?,
        poststop: resolve_list(&config.poststop, "/hooks/poststop")?,
    })
}

fn resolve_list(hooks: &[ConfigHook], at: &str) -> Result<Vec<Hook>> {
    hooks.iter().enumerate().map(|(i, hook)| resolve_hook(hook, format!("{at}/{i}"))).collect()
}

fn resolve_hook(hook: &ConfigHook, at: String) -> Result<Hook> {
    if !hook.path.starts_with('/') {
        return Err(Error::config(format!("{at}/path"), "must be an absolute path").on(hook.path.clone()));
    }
    let timeout = match hook.timeout {
        None => None,
        Some(seconds) => Some(
            i32::try_from(seconds)
                .ok()
                .filter(|seconds| *seconds > 0)
                .ok_or_else(|| Error::config(format!("{at}/timeout"), "must be greater than zero seconds"))?,
        ),
    };
    let path = c_string(&hook.path, &format!("{at}/path"))?;
    let strings = |values: &[String], field: &str| {
        let string = |(i, value): (usize, &String)| c_string(value, &format!("{at}/{field}/{i}"));
        values.iter().enumerate().map(string).collect::<Result<Vec<_>>>()
    };
    // Without `args`, the hook gets its path as argv[0], as is usual with execv.
    let mut args = strings(&hook.args, "args")?;
    if args.is_empty() {
        args.push(path.clone());
    }
    let env = hook.env.as_deref().map(|env| strings(env, "env")).transpose()?;
    Ok(Hook { path, args, env, timeout, at })
}
