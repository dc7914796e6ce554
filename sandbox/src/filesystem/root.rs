//! Where the root of a box comes from.
#![forbid(unsafe_code)]

use super::action::Action;
use super::order::{Ordered, Surroundings};
use super::overlay;
use super::plan::is_read_only;
use super::step::MountStep;
use crate::compile::CompileError;
use crate::config::{EnterRoot, Root, RootOverlay, Upper, Walls};
use crate::paths::c_path;

/// The step that gets the new root, if there is one; `overlay` is the slot of one that is held.
pub(super) fn step(
    walls: &Walls,
    overlay: Option<usize>,
) -> Result<Option<MountStep>, CompileError> {
    Ok(match (&walls.root, overlay) {
        (Root::Host, _) => None,
        (Root::Empty, _) => Some(MountStep::EmptyRoot),
        (Root::Directory(_), Some(slot)) => Some(MountStep::HeldRoot {
            slot,
            sealed: is_read_only(walls),
        }),
        (Root::Directory(root), None) => Some(MountStep::Root(c_path(root)?)),
    })
}

/// The step that makes what an action would put on `/` the root at once; `held` gives the step that holds
/// a slot.
pub(super) fn as_first<'a>(
    action: &MountStep,
    held: impl FnOnce(usize) -> Option<&'a MountStep>,
) -> Option<MountStep> {
    let MountStep::Action(Action::Put(put)) = action else {
        return None;
    };
    // What is made in memory is mounted later, and what may be missing leaves an empty root.
    let is_there = matches!(
        held(put.slot)?,
        MountStep::Take {
            optional: false,
            ..
        } | MountStep::TakeHeld { .. }
    );
    (is_there && put.target.as_c_str() == c"/").then(|| MountStep::FirstPut(put.clone()))
}

/// A root that is the host's own is neither entered nor covered.
pub(super) fn enterable(walls: &Walls) -> Result<(), CompileError> {
    if walls.root.is_host() && walls.enter_root == EnterRoot::Chroot {
        return Err(CompileError::Root(
            "chroot takes a root of the box's own to change to",
        ));
    }
    Ok(())
}

/// Gives the slot of the overlay that will be the root.
pub(super) fn overlay(
    walls: &Walls,
    launch: Surroundings,
    ordered: &mut Ordered,
) -> Result<usize, CompileError> {
    let Root::Directory(root) = &walls.root else {
        return Err(CompileError::Root(
            "an overlay root takes a directory: the host's tree is many file systems",
        ));
    };
    let upper = match &walls.root_overlay {
        RootOverlay::Persistent { upper, work } => Upper::Persistent {
            upper: upper.clone(),
            work: work.clone(),
        },
        RootOverlay::None | RootOverlay::Temporary => Upper::Temporary,
    };
    let lower = [root.clone()];
    let layers = overlay::plan(&lower, &upper, c"/".to_owned(), launch)?;
    Ok(ordered.hold(MountStep::Overlay(layers)))
}
