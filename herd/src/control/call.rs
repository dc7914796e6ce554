//! Calls to and from their JSON: `{"method": …, "parameters": {…}}`.
#![forbid(unsafe_code)]

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use units::{Signal, UnitName};

use super::protocol::{Call, INTERFACE, Job, Refusal, Schedule, Way, Whom};

/// varlink's own interface, which every service has.
pub const SERVICE_INTERFACE: &str = "org.varlink.service";

/// The members of [`INTERFACE`], as the interface description lists them.
pub const METHODS: [&str; 21] = [
    "Status",
    "List",
    "Start",
    "Stop",
    "Restart",
    "Reload",
    "Kill",
    "Freeze",
    "Thaw",
    "ResetFailed",
    "Why",
    "Plan",
    "Cat",
    "Rescan",
    "Goal",
    "Shutdown",
    "CancelShutdown",
    "Watch",
    "Networks",
    "Boot",
    "Info",
];

/// A call as it stands in one frame.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Envelope {
    pub method: String,
    #[serde(default)]
    pub parameters: Option<Map<String, Value>>,
    #[serde(default)]
    pub more: bool,
    #[serde(default)]
    pub oneway: bool,
    #[serde(default)]
    pub upgrade: bool,
}

/// What a frame asks for: something of herd, or varlink's introspection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    Herd(Call),
    GetInfo,
    GetInterfaceDescription { interface: String },
}

impl Envelope {
    /// Reads the parameters of a known method.
    ///
    /// # Errors
    /// The refusal to send back: unknown interface or method, a missing, unknown or mistyped
    /// parameter, a bad unit name.
    pub fn into_request(self) -> Result<Request, Refusal> {
        if self.upgrade {
            return Err(invalid("upgrade"));
        }
        let Some((interface, member)) = self.method.rsplit_once('.') else {
            return Err(Refusal::InterfaceNotFound {
                interface: self.method,
            });
        };
        let mut fields = Fields(self.parameters.unwrap_or_default());
        let request = match interface {
            INTERFACE => Request::Herd(herd_call(member, &self.method, &mut fields)?),
            SERVICE_INTERFACE => match member {
                "GetInfo" => Request::GetInfo,
                "GetInterfaceDescription" => Request::GetInterfaceDescription {
                    interface: fields.text("interface")?,
                },
                _ => {
                    return Err(Refusal::MethodNotFound {
                        method: self.method,
                    });
                }
            },
            _ => {
                return Err(Refusal::InterfaceNotFound {
                    interface: interface.to_owned(),
                });
            }
        };
        fields.end()?;
        if matches!(request, Request::Herd(Call::Watch { .. })) && !self.more {
            return Err(invalid("more"));
        }
        Ok(request)
    }
}

impl Call {
    /// The member name of the call in [`INTERFACE`].
    pub fn method(&self) -> &'static str {
        match self {
            Self::Status { .. } => "Status",
            Self::List { .. } => "List",
            Self::Start(_) => "Start",
            Self::Stop(_) => "Stop",
            Self::Restart(_) => "Restart",
            Self::Reload(_) => "Reload",
            Self::Kill { .. } => "Kill",
            Self::Freeze { .. } => "Freeze",
            Self::Thaw { .. } => "Thaw",
            Self::ResetFailed { .. } => "ResetFailed",
            Self::Why { .. } => "Why",
            Self::Plan { .. } => "Plan",
            Self::Cat { .. } => "Cat",
            Self::Rescan => "Rescan",
            Self::Goal { .. } => "Goal",
            Self::Shutdown { .. } => "Shutdown",
            Self::CancelShutdown { .. } => "CancelShutdown",
            Self::Watch { .. } => "Watch",
            Self::Networks => "Networks",
            Self::Boot => "Boot",
            Self::Info => "Info",
        }
    }

    /// The whole frame's JSON, as a client sends it.
    pub fn to_json(&self) -> Value {
        let parameters = match self {
            Self::Status { units, all } => json!({ "units": texts(units), "all": all }),
            Self::List { all, usage } => json!({ "all": all, "usage": usage }),
            Self::Start(job) | Self::Stop(job) | Self::Restart(job) | Self::Reload(job) => {
                json!({ "units": texts(&job.units), "wait": job.wait })
            }
            Self::Kill { unit, signal, whom } => {
                json!({ "unit": unit.as_str(), "signal": signal.to_string(), "whom": whom })
            }
            Self::ResetFailed { units }
            | Self::Watch { units }
            | Self::Freeze { units }
            | Self::Thaw { units } => json!({ "units": texts(units) }),
            Self::Why { unit } | Self::Plan { unit } | Self::Cat { unit } => {
                json!({ "unit": unit.as_str() })
            }
            Self::Rescan | Self::Networks | Self::Boot | Self::Info => json!({}),
            Self::Goal { unit, wait } => json!({ "unit": unit.as_str(), "wait": wait }),
            Self::Shutdown {
                power,
                force,
                wait,
                schedule,
            } => json!({
                "power": power,
                "force": force,
                "wait": wait,
                "delay_usec": u64::try_from(schedule.delay.as_micros()).unwrap_or(u64::MAX),
                "message": schedule.message,
                "wall": schedule.wall,
                "warn_only": schedule.warn_only,
            }),
            Self::CancelShutdown { message, wall } => {
                json!({ "message": message, "wall": wall })
            }
        };
        let method = format!("{INTERFACE}.{}", self.method());
        if matches!(self, Self::Watch { .. }) {
            json!({ "method": method, "parameters": parameters, "more": true })
        } else {
            json!({ "method": method, "parameters": parameters })
        }
    }
}

fn herd_call(member: &str, method: &str, fields: &mut Fields) -> Result<Call, Refusal> {
    Ok(match member {
        "Status" => Call::Status {
            units: fields.units()?,
            all: fields.flag("all", false)?,
        },
        "List" => Call::List {
            all: fields.flag("all", false)?,
            usage: fields.flag("usage", false)?,
        },
        "Start" => Call::Start(fields.job()?),
        "Stop" => Call::Stop(fields.job()?),
        "Restart" => Call::Restart(fields.job()?),
        "Reload" => Call::Reload(fields.job()?),
        "Kill" => Call::Kill {
            unit: fields.unit()?,
            signal: fields.signal()?,
            whom: fields.whom()?,
        },
        "Freeze" => Call::Freeze {
            units: fields.some_units()?,
        },
        "Thaw" => Call::Thaw {
            units: fields.some_units()?,
        },
        "ResetFailed" => Call::ResetFailed {
            units: fields.units()?,
        },
        "Why" => Call::Why {
            unit: fields.unit()?,
        },
        "Plan" => Call::Plan {
            unit: fields.unit()?,
        },
        "Cat" => Call::Cat {
            unit: fields.unit()?,
        },
        "Rescan" => Call::Rescan,
        "Goal" => Call::Goal {
            unit: fields.unit()?,
            wait: fields.flag("wait", true)?,
        },
        "Shutdown" => Call::Shutdown {
            power: fields.way()?,
            force: fields.flag("force", false)?,
            wait: fields.flag("wait", true)?,
            schedule: Schedule {
                delay: fields.delay()?,
                message: fields.optional_text("message")?,
                wall: fields.flag("wall", true)?,
                warn_only: fields.flag("warn_only", false)?,
            },
        },
        "CancelShutdown" => Call::CancelShutdown {
            message: fields.optional_text("message")?,
            wall: fields.flag("wall", true)?,
        },
        "Watch" => Call::Watch {
            units: fields.units()?,
        },
        "Networks" => Call::Networks,
        "Boot" => Call::Boot,
        "Info" => Call::Info,
        _ => {
            return Err(Refusal::MethodNotFound {
                method: method.to_owned(),
            });
        }
    })
}

/// The parameters not yet taken; what is left at the end nobody knows.
struct Fields(Map<String, Value>);

impl Fields {
    /// `null` stands for an absent value, as varlink has it.
    fn take(&mut self, key: &str) -> Option<Value> {
        self.0.remove(key).filter(|value| !value.is_null())
    }

    fn text(&mut self, key: &str) -> Result<String, Refusal> {
        match self.take(key) {
            Some(Value::String(text)) => Ok(text),
            _ => Err(invalid(key)),
        }
    }

    fn optional_text(&mut self, key: &str) -> Result<Option<String>, Refusal> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(invalid(key)),
        }
    }

    fn way(&mut self) -> Result<Option<Way>, Refusal> {
        match self.optional_text("power")? {
            None => Ok(None),
            Some(name) => Way::from_name(&name)
                .map(Some)
                .ok_or_else(|| invalid("power")),
        }
    }

    /// A year at most, so that a time can be added to it.
    fn delay(&mut self) -> Result<Duration, Refusal> {
        const LONGEST: u64 = 366 * 86_400 * 1_000_000;
        match self.take("delay_usec") {
            None => Ok(Duration::ZERO),
            Some(value) => match value.as_u64() {
                Some(micros) if micros <= LONGEST => Ok(Duration::from_micros(micros)),
                _ => Err(invalid("delay_usec")),
            },
        }
    }

    fn flag(&mut self, key: &str, default: bool) -> Result<bool, Refusal> {
        match self.take(key) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| invalid(key)),
        }
    }

    fn unit(&mut self) -> Result<UnitName, Refusal> {
        checked(&self.text("unit")?)
    }

    fn units(&mut self) -> Result<Vec<UnitName>, Refusal> {
        match self.take("units") {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => values
                .iter()
                .map(|value| checked(value.as_str().ok_or_else(|| invalid("units"))?))
                .collect(),
            Some(_) => Err(invalid("units")),
        }
    }

    fn some_units(&mut self) -> Result<Vec<UnitName>, Refusal> {
        let units = self.units()?;
        if units.is_empty() {
            return Err(invalid("units"));
        }
        Ok(units)
    }

    fn job(&mut self) -> Result<Job, Refusal> {
        Ok(Job {
            units: self.some_units()?,
            wait: self.flag("wait", true)?,
        })
    }

    fn signal(&mut self) -> Result<Signal, Refusal> {
        match self.take("signal") {
            None => Some(Signal::TERM),
            Some(Value::String(text)) => Signal::from_name(&text),
            Some(value) => value
                .as_i64()
                .and_then(|number| Signal::from_number(i32::try_from(number).ok()?)),
        }
        .ok_or_else(|| invalid("signal"))
    }

    fn whom(&mut self) -> Result<Whom, Refusal> {
        match self.take("whom") {
            None => Ok(Whom::default()),
            Some(value) => serde_json::from_value(value).map_err(|_| invalid("whom")),
        }
    }

    fn end(self) -> Result<(), Refusal> {
        match self.0.into_iter().next() {
            None => Ok(()),
            Some((key, _)) => Err(invalid(&key)),
        }
    }
}

fn checked(name: &str) -> Result<UnitName, Refusal> {
    UnitName::new(name).map_err(|reason| Refusal::BadName {
        // The text comes from outside and goes back only in part.
        name: name.chars().take(UnitName::MAX).collect(),
        reason: reason.to_string(),
    })
}

fn invalid(parameter: &str) -> Refusal {
    Refusal::InvalidParameter {
        parameter: parameter.chars().take(64).collect(),
    }
}

fn texts(units: &[UnitName]) -> Vec<&str> {
    units.iter().map(UnitName::as_str).collect()
}
