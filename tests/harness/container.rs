//! A container made by `create`; it goes when the value goes.

use super::call::{Call, lossy};
use super::sys::PidFd;
use super::{Bundle, Test};
use nix::sys::wait::WaitStatus;
use serde_json::Value;
use std::path::PathBuf;

pub struct Container<'t> {
    test: &'t Test,
    pub id: String,
    /// The init process.
    pub init: PidFd,
    /// Where the payload's output goes.
    pub stdout: PathBuf,
    pub stderr: PathBuf,
}

impl<'t> Container<'t> {
    /// `create`, with whatever `change` adds to the call.
    #[track_caller]
    pub fn create(
        test: &'t Test,
        bundle: &Bundle,
        change: impl FnOnce(Call<'t>) -> Call<'t>,
    ) -> Container<'t> {
        Container::made_by(test, "create", bundle, change)
    }

    /// `run --detach`, likewise.
    #[track_caller]
    pub fn run_detached(test: &'t Test, bundle: &Bundle) -> Container<'t> {
        Container::made_by(test, "run", bundle, |call| call.arg("--detach"))
    }

    /// `restore --detach`, likewise.
    #[track_caller]
    pub fn restored(
        test: &'t Test,
        bundle: &Bundle,
        change: impl FnOnce(Call<'t>) -> Call<'t>,
    ) -> Container<'t> {
        Container::made_by(test, "restore", bundle, |call| change(call.arg("--detach")))
    }

    #[track_caller]
    fn made_by(
        test: &'t Test,
        verb: &str,
        bundle: &Bundle,
        change: impl FnOnce(Call<'t>) -> Call<'t>,
    ) -> Container<'t> {
        let (id, pid_file) = (test.id(), test.path("pid"));
        let call = test.verb([verb, "--bundle"]).arg(bundle.lay());
        let call = change(call.arg("--pid-file").arg(&pid_file)).arg(&id);
        let (stdout, stderr) = (call.stdout.clone(), call.stderr.clone());
        test.will_delete(&id);
        call.ok();
        let init = PidFd::from_file(&pid_file);
        Container { test, id, init, stdout, stderr }
    }

    #[track_caller]
    pub fn start(&self) {
        self.verb("start").ok();
    }

    /// `runtime VERB ID`
    pub fn verb(&self, verb: &str) -> Call<'t> {
        self.test.verb([verb, &self.id])
    }

    #[track_caller]
    pub fn state(&self) -> Value {
        serde_json::from_str(&self.verb("state").ok().stdout).expect("state is JSON")
    }

    #[track_caller]
    pub fn status(&self) -> String {
        self.state()["status"].as_str().expect("a status").to_owned()
    }

    #[track_caller]
    pub fn kill(&self, signal: &str) {
        self.verb("kill").arg(signal).ok();
    }

    /// Waits for init to end; its exit code, or 128 + the signal.
    #[track_caller]
    pub fn wait(&self) -> i32 {
        match self.init.reap() {
            WaitStatus::Exited(_, code) => code,
            WaitStatus::Signaled(_, signal, _) => 128 + signal as i32,
            other => panic!("init ended as {other:?}"),
        }
    }

    /// Kills it and waits for its end.
    #[track_caller]
    pub fn stop(&self) {
        self.kill("KILL");
        assert_eq!(self.wait(), 128 + libc::SIGKILL);
    }

    /// `exec FLAGS… ID ARGS…`
    pub fn exec<const N: usize, const M: usize>(&self, flags: [&str; N], args: [&str; M]) -> Call<'t> {
        self.test.verb(["exec"]).args(flags).arg(&self.id).args(args)
    }

    /// `update FLAGS… ID`
    pub fn update<const N: usize>(&self, flags: [&str; N]) -> Call<'t> {
        self.test.verb(["update"]).args(flags).arg(&self.id)
    }

    /// The probe's report from an `exec` with these flags.
    #[track_caller]
    pub fn look<const N: usize>(&self, flags: [&str; N]) -> Value {
        self.exec(flags, ["/probe"]).out().report()
    }

    /// What the payload has written to stdout.
    pub fn output(&self) -> String {
        lossy(&self.stdout)
    }

    /// The probe's report when it is the payload of a container that has ended.
    #[track_caller]
    pub fn report(&self) -> Value {
        let text = self.output();
        serde_json::from_str(&text)
            .unwrap_or_else(|e| panic!("{e}: no report in {text:?} {:?}", lossy(&self.stderr)))
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        if self.test.root().join(&self.id).exists() {
            self.test.verb(["delete", "--force", &self.id]).quietly();
        }
    }
}
