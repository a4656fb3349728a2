//! `hooks`: programs that run at fixed points of a container's life.

use super::c_string;
use super::plan::{Hook, Hooks};
use crate::error::{Error, Result};
use oci_spec::runtime::{Hook as SpecHook, Hooks as SpecHooks};

#[allow(deprecated, reason = "prestart is deprecated in the spec, and engines still send it")]
pub fn hooks(spec: &SpecHooks) -> Result<Hooks> {
    Ok(Hooks {
        prestart: list(spec.prestart(), "/hooks/prestart")?,
        create_runtime: list(spec.create_runtime(), "/hooks/createRuntime")?,
        create_container: list(spec.create_container(), "/hooks/createContainer")?,
        start_container: list(spec.start_container(), "/hooks/startContainer")?,
        poststart: list(spec.poststart(), "/hooks/poststart")?,
        poststop: list(spec.poststop(), "/hooks/poststop")?,
    })
}

fn list(hooks: &Option<Vec<SpecHook>>, at: &str) -> Result<Vec<Hook>> {
    hooks.iter().flatten().enumerate().map(|(i, hook)| one(hook, format!("{at}/{i}"))).collect()
}

fn one(hook: &SpecHook, at: String) -> Result<Hook> {
    if !hook.path().is_absolute() {
        return Err(Error::config(format!("{at}/path"), "must be an absolute path")
            .on(hook.path().display().to_string()));
    }
    let timeout = match hook.timeout() {
        None => None,
        Some(seconds) => Some(
            i32::try_from(seconds)
                .ok()
                .filter(|seconds| *seconds > 0)
                .ok_or_else(|| Error::config(format!("{at}/timeout"), "must be greater than zero seconds"))?,
        ),
    };
    let path = c_string(&hook.path().to_string_lossy(), &format!("{at}/path"))?;
    let strings = |values: &[String], field: &str| {
        values.iter().map(|value| c_string(value, &format!("{at}/{field}"))).collect::<Result<Vec<_>>>()
    };
    // Without args, argv[0] is the path, as execv's callers do.
    let mut args = strings(hook.args().as_deref().unwrap_or_default(), "args")?;
    if args.is_empty() {
        args.push(path.clone());
    }
    let env = hook.env().as_deref().map(|env| strings(env, "env")).transpose()?;
    Ok(Hook { path, args, env, timeout, at })
}
