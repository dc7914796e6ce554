//! A plan without a running herd: the same preparation, from the files alone.
#![forbid(unsafe_code)]

use std::sync::Arc;

use sandbox::Host;
use sandbox::config::CgroupName;
use units::load;
use units::unit::Kind;
use units::{Diagnostic, Unit, UnitName};

use super::options::Options;
use super::{reason, start};
use crate::advice::advice;
use crate::exposure::{self, Exposure, Runner};
use crate::network::NetworkOccasion;
use crate::pid1::place::Place;
use crate::prepare::{self, Occasion};
use crate::supervisor::action::Role;
use crate::users::Users;

/// Why there is no plan.
#[derive(Debug)]
pub enum NoPlan {
    /// There is no such unit.
    Missing(Vec<Diagnostic>),
    /// The unit's files are in error.
    Unit(Vec<Diagnostic>),
    /// It is a target, which runs nothing.
    Nothing,
    /// It cannot be built on this machine.
    Refused { why: Arc<str>, hint: Option<String> },
}

/// What starting the unit's main process would do on this machine, as text.
///
/// # Errors
/// [`NoPlan`].
pub fn plan(options: &Options, name: &UnitName) -> Result<String, NoPlan> {
    let (unit, plan, _) = compiled(options, name)?;
    Ok(prepare::describe(&unit, &plan))
}

/// How far the unit's main process would reach if it were taken over.
///
/// # Errors
/// [`NoPlan`].
pub fn exposure(options: &Options, name: &UnitName) -> Result<Exposure, NoPlan> {
    let (unit, plan, runner) = compiled(options, name)?;
    Ok(exposure::exposure(&unit, runner, plan.warnings()))
}

fn compiled(options: &Options, name: &UnitName) -> Result<(Unit, sandbox::Plan, Runner), NoPlan> {
    let parsed = load::load_one(&options.search, name, &load::host_facts());
    let Some(unit) = parsed.unit else {
        return Err(match parsed.is_missing {
            true => NoPlan::Missing(parsed.diagnostics),
            false => NoPlan::Unit(parsed.diagnostics),
        });
    };
    if unit.kind == Kind::Target {
        return Err(NoPlan::Nothing);
    }
    let refused = |error: &(dyn std::error::Error + 'static)| NoPlan::Refused {
        why: reason(error),
        hint: None,
    };
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
        network: NetworkOccasion {
            definitions: crate::network::definitions(&unit, &options.search, &load::host_facts())
                .map_err(|problems| NoPlan::Refused {
                why: problems.into(),
                hint: None,
            })?,
            ..NetworkOccasion::default()
        },
        ..Occasion::default()
    };
    let prepared = prepare::prepare(&unit, Role::Main, &users, &surface, &occasion)
        .map_err(|error| refused(&error))?;
    let plan = sandbox::compile(&prepared.config, &host).map_err(|error| NoPlan::Refused {
        why: reason(&error),
        hint: advice(&error, &prepared.config, &host, &Place::here()),
    })?;
    let runner = Runner {
        is_root: host.uid == 0,
    };
    Ok((unit, plan, runner))
}
