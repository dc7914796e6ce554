//! `herd plot`: the boot as a picture.

use std::process::ExitCode;

use super::blame::ask;
use super::boot_chart::chart;
use super::failure::Failure;
use super::places::Places;
use super::screen::Screen;

pub(super) fn plot(places: &Places, screen: &mut Screen) -> Result<ExitCode, Failure> {
    let boot = ask(places)?;
    if screen.json {
        screen.document(&boot)?;
        return Ok(ExitCode::SUCCESS);
    }
    if screen.is_terminal {
        return Err(Failure::failed("a picture is nothing for a terminal")
            .hint("`herd plot > boot.svg`, and open that in a browser"));
    }
    screen.line(chart(&boot))?;
    Ok(ExitCode::SUCCESS)
}
