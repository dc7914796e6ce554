//! For those who come from voidbox (later libvoid): every option of its `JailConfig`, name by name, with its
//! counterpart here, and what is different.
//!
//! # Calls
//! | voidbox | here | different |
//! |---|---|---|
//! | `launch` → `RunOutcome{pid, exit_code}` | [`session::launch`](crate::session::launch) → [`RunOutcome`](crate::session::RunOutcome) | `pid` is the program's, not a helper's; signal and reason (out of memory) are told apart from codes |
//! | `spawn`, `wait`, `deinit` | [`session::spawn`](crate::session::spawn), [`Session::wait`](crate::session::Session::wait), drop | waiting twice does not compile; a dropped session ends its box |
//! | `Session.runtimeWarnings` | [`Session::warnings`](crate::session::Session::warnings) | walls given up by name, none about directories nobody needs |
//! | `launch_shell`, `default_shell_config` | [`launch_shell`](crate::session::launch_shell), [`ShellConfig::new`](crate::session::ShellConfig::new) | |
//! | `check_host` → `DoctorReport` | [`check_host`](crate::check_host) | tries instead of looking whether files exist |
//! | `with_profile(minimal \| default \| full_isolation)` | [`with_profile`](crate::with_profile) with [`Profile`](crate::Profile)`::{None, Minimal, Default, Strict}` | `minimal` is `None`, `default` is `Minimal`, `full_isolation` is less than `Default`, which drops capabilities and filters calls |
//! | `validate` | [`session::validate`](crate::session::validate) | all problems, not the first |
//! | `applyIsolationInChild`, `…Sync` | [`apply_isolation_in_child`](crate::apply_isolation_in_child), [`apply_isolation_in_child_sync`](crate::apply_isolation_in_child_sync) | the program is in the new PID namespace, and not only its children |
//!
//! # JailConfig
//! | voidbox | here | different |
//! |---|---|---|
//! | `name` | [`Config::name`](crate::Config) | |
//! | `rootfs_path` | [`Walls::root`](crate::config::Walls), [`Root`](crate::config::Root) | `"/"` is [`Root::Host`](crate::config::Root::Host), a usable tree; the empty tmpfs of voidbox is `Root::Empty` |
//! | `cmd` | [`Process::argv`](crate::config::Process) with `search_path` | |
//! | `isolation.user` | [`Walls::user_namespace`](crate::config::Walls) | off unless asked for or needed; any uid inside, ranges by newuidmap |
//! | `isolation.net` | `namespaces.net`, [`Network`](crate::config::Network) | no bridge and no NAT behind one's back: nothing, or loopback |
//! | `isolation.mount`, `pid`, `uts`, `ipc`, `cgroup` | [`Namespaces`](crate::config::Namespaces) | the cgroup namespace's root is the box's own group; `time` is there too |
//! | `namespace_fds.*` | [`Walls::join`](crate::config::Walls) | by [`Held`](crate::config::Held) descriptor or by path; `user2` is [`NamespaceKind::SecondUser`](crate::config::NamespaceKind::SecondUser) |
//! | `process.chdir` | `Process::working_directory` | unset is `/`; `working_directories` tries several |
//! | `process.argv0` | `Process::argv0` | |
//! | `clear_env`, `set_env`, `unset_env` | `Process::environment` | the whole environment: nothing is inherited, so nothing has to be cleared |
//! | `inherit_fds` | [`Files::passed`](crate::Files), [`Inherit::All`](crate::config::Inherit::All) | borrowed descriptors, each under the number it is to have |
//! | `new_session` | `Process::new_session`, `controlling_terminal`, `foreground` | |
//! | `die_with_parent` | `Process::die_with_parent` | stands in the box's first process too |
//! | `runtime.uid`, `gid` | [`Identity`](crate::config::Identity) | any, with supplementary groups |
//! | `runtime.hostname` | `Walls::hostname` | brings its UTS namespace: the host's name is never set |
//! | `runtime.as_pid_1` | `Walls::as_pid_1` | |
//! | `fail_on_runtime_warnings` | [`Options::fail_on_warnings`](crate::session::Options::fail_on_warnings) | |
//! | `use_pivot_root` | `Walls::enter_root`, [`EnterRoot`](crate::config::EnterRoot) | |
//! | `security.no_new_privs` | `Walls::no_new_privileges` | |
//! | `cap_add`, `cap_drop` | `Walls::capability_bounding_set`, `capabilities`, `ambient_capabilities` | dropped last, and none is kept by default; what is given is ambient, so it survives `execve` |
//! | `seccomp_mode`, `seccomp_filter`, `seccomp_filters`, `seccomp_filter_fds` | [`SystemCalls`](crate::config::SystemCalls) | names, groups, OCI profiles and raw programs in order; mode 1 is not offered: a filter of `read`, `write`, `exit` and `rt_sigreturn` says the same |
//! | `disable_userns`, `assert_userns_disabled` | [`UserNamespace::disable_further`](crate::config::UserNamespace), `Walls::assert_user_namespaces_disabled` | |
//! | `exec_label`, `file_label` | none | voidbox refuses both, always |
//! | `landlock.*` | [`Landlock`](crate::config::Landlock) | every right of the kernel's ABI is handled, so what no rule grants is denied; files and ports too |
//! | `resources.mem`, `cpu`, `pids` | [`Limits`](crate::config::Limits) | typed; v1, v2 and hybrid; a limit that cannot be held is an error |
//! | `status.json_status_fd`, `info_fd` | [`Options::events_to`](crate::session::Options::events_to) | one stream of JSON; `vb` writes bubblewrap's own formats |
//! | `status.sync_fd` | [`Lifecycle::sync`](crate::config::Lifecycle) | as in bubblewrap: held open while the box lives |
//! | `status.block_fd` | `Lifecycle::block` | any byte or the end of file |
//! | `status.userns_block_fd` | [`IdMaps::ByCaller`](crate::config::IdMaps::ByCaller) with `Lifecycle::gate` | the caller writes the maps at the gate |
//! | `status.lock_file_path` | [`Options::lock_file`](crate::session::Options::lock_file); `Lifecycle::lock_files` | of the host, exclusive, and the holder is named; the latter of the box, shared, as bubblewrap's |
//! | `status.on_event`, `callback_ctx` | [`Options::on_event`](crate::session::Options::on_event) | a closure; it can refuse the box at its gate |
//! | `fs_actions` | `Walls::mounts`, [`MountAction`](crate::config::MountAction) | below |
//!
//! # FsAction
//! | voidbox | here |
//! |---|---|
//! | `perms`, `size` | `mode` and `size` of the action itself |
//! | `bind`, `ro_bind`, `dev_bind`, each with `_try` | [`MountAction::Bind`](crate::config::MountAction::Bind) with `read_only`, `devices`, `optional`; recursive, and files too |
//! | `proc`, `dev`, `mqueue` | `Proc`, `Devices`, `MessageQueues` |
//! | `tmpfs`, `dir`, `symlink`, `chmod`, `remount_ro` | `Tmpfs`, `Directory`, `Symlink`, `Chmod`, `RemountReadOnly` |
//! | `overlay_src` with `overlay`, `tmp_overlay`, `ro_overlay` | `Overlay` with a list of `lower`, and [`Upper`](crate::config::Upper) |
//! | `file`, `file_fd` | `File` with [`Data`](crate::config::Data) |
//! | `bind_data`, `ro_bind_data`, and both with `_fd` | `BindData` with [`Data`](crate::config::Data) |
//!
//! # Status
//! | voidbox | here |
//! |---|---|
//! | `runtime_init_warnings` | [`Event::RuntimeInitWarnings`](crate::session::Event::RuntimeInitWarnings), with walls and reasons |
//! | `spawned`, after the set-up | [`Event::Spawned`](crate::session::Event::Spawned), while the box is held at its gate: its ids are never missing |
//! | `setup_finished` | [`Event::SetupFinished`](crate::session::Event::SetupFinished), once the program runs |
//! | none | [`Event::Failed`](crate::session::Event::Failed), with step, path and errno |
//! | `exited` with 128 + n | [`Event::Exited`](crate::session::Event::Exited), code and signal apart, and the reason |
//! | `ts`, seconds | `monotonic_ns` |
//! | instance id of 32 bits | [`InstanceId`](crate::session::InstanceId), 128 random bits |
//!
//! # Errors
//! voidbox's `SpawnFailed` is one of [`SpawnError`](crate::session::SpawnError)'s variants, with the step, the path
//! and the kernel's reason. Its `ValidationError`:
//!
//! | voidbox | [`ValidationError`](crate::session::ValidationError) |
//! |---|---|
//! | `InvalidName`, `InvalidHostname`, `MissingCommand`, `InvalidCommand`, `InvalidArgv0`, `InvalidCapability`, `InvalidLockFilePath`, `NamespaceAttachConflict`, `InvalidOverlayPath` | of the same name |
//! | `InvalidRootfsPath`, `InvalidChdir` | `InvalidRootPath`, `InvalidWorkingDirectory` |
//! | `InvalidSetEnvKey`, `InvalidUnsetEnvKey` | `InvalidEnvironmentName`, `InvalidEnvironmentValue` |
//! | `InvalidMemoryLimit`, `InvalidCpuLimit`, `InvalidPidsLimit` | `InvalidMemoryLimit`, `InvalidCpuLimit`, `InvalidTasksLimit` |
//! | `InvalidFsSource`, `InvalidFsDestination`, `InvalidFsMode`, `InvalidFsSize` | `InvalidSource`, `InvalidTarget`, `InvalidMode`, `InvalidSize` |
//! | `AsPid1RequiresPidNamespace`, `UserNs2RequiresUserNs` | `FirstProcessNeedsPidNamespace`, `SecondUserNeedsUser` |
//! | `LandlockEmptyPath`, `LandlockInvalidPort`, `LandlockRequiresNoNewPrivs` | `InvalidLandlockPath`, `InvalidLandlockPort`, `LandlockNeedsNoNewPrivileges` |
//! | `InvalidInheritedFd`, `InvalidStatusFd`, `InvalidSyncFd`, `InvalidBlockFd`, `InvalidUsernsBlockFd`, `InvalidNamespaceFd`, `InvalidSeccompFilterFd`, `InvalidFsFd` | none: descriptors are borrowed, so they are open; one that is not given is named by the step that needs it |
//! | `FsActionsRequireMountNamespace`, `SeccompRequiresNoNewPrivs` | none: the one brings the other |
//! | `SeccompModeConflict`, `InvalidOverlaySourceKey`, `DuplicateOverlaySourceKey`, `MissingOverlaySource`, `DisableUserNsRequiresUserNs`, `DisableUserNsConflict`, `AssertUserNsDisabledConflict` | none: the types cannot say it |
//! | `InvalidSeccompFilter`, `IdentityRequiresUserNamespace` | [`CompileError`](crate::CompileError), which knows the machine |
//! | `SecurityLabelNotSupported` | none: there is no such option |
