//! A plan without a running herd: the same preparation, from the files alone.
#![forbid(unsafe_code)]

use std::sync::Arc;

use sandbox::Host;
use sandbox::config::CgroupName;
use units::load;
use units::{Diagnostic, UnitName};

use super::options::Options;
use super::{reason, start};
use crate::prepare::{self, Occasion};
use crate::supervisor::action::Role;
use crate::users::Users;

/// Why there is no plan.
#[derive(Debug)]
pub enum NoPlan {
    /// The unit's files are in error, or there are none.
    Unit(Vec<Diagnostic>),
    /// It cannot be built on this machine.
    Refused(Arc<str>),
}

/// What starting the unit's main process would do on this machine, as text.
///
/// # Errors
/// [`NoPlan`].
pub fn plan(options: &Options, name: &UnitName) -> Result<String, NoPlan> {
    let parsed = load::load_one(&options.search, name, &load::host_facts());
    let Some(unit) = parsed.unit else {
        return Err(NoPlan::Unit(parsed.diagnostics));
    };
    let refused = |error: &(dyn std::error::Error + 'static)| NoPlan::Refused(reason(error));
    let host = Host::detect().map_err(|error| refused(&error))?.tried();
    let users = Users::read().map_err(|error| refused(&error))?;
    let base = start::has_groups(&host).then(|| CgroupName(start::base_name(options)));
    let notify = options.runtime_dir.join("notify");
    let surface = start::surface(options, base.as_ref(), &notify, &host);
    let occasion = Occasion {
        slices: prepare::slice_limits(&unit, |slice| {
            let name = UnitName::new(slice).ok()?;
            let target = load::load_one(&options.search, &name, &load::host_facts());
            prepare::limits_of_target(&target.unit?)
        }),
        ..Occasion::default()
    };
    let prepared = prepare::prepare(&unit, Role::Main, &users, &surface, &occasion)
        .map_err(|error| refused(&error))?;
    let plan = sandbox::compile(&prepared.config, &host).map_err(|error| refused(&error))?;
    Ok(plan.to_string())
}
