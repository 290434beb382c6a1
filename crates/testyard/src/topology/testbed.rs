//! The testbed that files are read and planned for: as configured, or with defaults where nothing is.

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use testyard_fabric::Emulator;
use testyard_formats::import;
use testyard_model::host::HostLimits;
use testyard_model::id::HostName;
use testyard_model::topology::Topology;
use testyard_model::urn::Urn;
use testyard_plan::{
    Existing, Host, HostStanding, HostView, LinkPolicy, Plan, PlanError, PortRange, Site, Usage, Wanted,
    replan,
};

use crate::cli::ConfigArgument;
use crate::config::{self, Agent, ConfigError, Settings};
use crate::exit::Failure;
use crate::progress;
use crate::serve::translate;

/// What a machine without a configuration is taken for.
const DEFAULTS: &str = "[testbed]\nname = \"testyard\"\n";

/// What readers of files may know of a testbed.
pub(crate) struct Surroundings {
    pub(crate) site: import::Site,
    /// The URN of the testbed, which requests may name.
    pub(crate) urn: Urn,
}

impl Surroundings {
    /// Of a testbed that runs.
    pub(crate) fn of(testbed: &testyard_web::api::Testbed) -> Result<Self, Failure> {
        let images = testbed
            .images
            .iter()
            .map(|(name, image)| Ok((name.clone(), image.parse().map_err(Failure::failed)?)));
        let kinds = testbed.sliver_types.iter().map(|kind| kind.name.parse().map_err(Failure::failed));
        Ok(Self {
            site: import::Site {
                sliver_types: kinds.collect::<Result<_, _>>()?,
                images: images.collect::<Result<_, Failure>>()?,
                hosts: testbed.hosts.iter().map(|host| host.name.clone()).collect(),
            },
            urn: testbed.urn.parse().map_err(Failure::failed)?,
        })
    }
}

/// A testbed to plan for.
pub(super) struct Testbed {
    settings: Settings,
    hosts: Vec<Host>,
    /// What becomes of links, between hosts too.
    links: LinkPolicy,
    origin: Origin,
    /// What the kernel of each has left.
    limits: HostLimits,
}

/// Where what is said of the hosts comes from.
enum Origin {
    Configuration(PathBuf),
    /// There is no configuration, or none that this user may read.
    Defaults(PathBuf, ErrorKind),
    /// The command line.
    Given,
}

/// A host on the command line: `NAME:CAPACITY`.
#[derive(Clone, Debug)]
pub(super) struct HostGiven {
    name: HostName,
    capacity: u32,
}

impl FromStr for HostGiven {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, capacity) =
            text.rsplit_once(':').ok_or_else(|| format!("{text:?} has no capacity: write it like a:50"))?;
        let name = name.parse().map_err(|error| format!("{error}"))?;
        let capacity = capacity
            .parse()
            .map_err(|_| format!("{capacity:?} is no number of nodes: write the host like a:50"))?;
        Ok(Self { name, capacity })
    }
}

impl Testbed {
    /// The testbed of the configuration. Defaults stand in for one that is not there or not to be read by this user,
    /// unless it was asked for by name.
    pub(super) fn load(config: &ConfigArgument, hosts: &[HostGiven]) -> Result<Self, Failure> {
        let path = config.path();
        let (settings, origin) = match config::load(&path) {
            Ok(settings) => (settings, Origin::Configuration(path)),
            Err(ConfigError::Unreadable { source, .. })
                if !config.is_named()
                    && matches!(source.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) =>
            {
                (config::parse(Path::new("defaults"), DEFAULTS)?, Origin::Defaults(path, source.kind()))
            }
            Err(error) => return Err(error.into()),
        };
        let (given, origin) = if hosts.is_empty() { (None, origin) } else { (Some(hosts), Origin::Given) };
        let mut known = std::collections::HashSet::new();
        if let Some(twice) = hosts.iter().find(|host| !known.insert(&host.name)) {
            return Err(Failure::usage(format!("--hosts names {} twice", twice.name)));
        }
        let configured =
            translate::controller(&settings).map_err(|error| Failure::usage(format!("{error:#}")))?;
        let hosts: Vec<Host> = match given {
            None => configured.hosts().iter().map(|host| host.resources.clone()).collect(),
            Some(given) => {
                given.iter().map(|host| made_up(host, &settings)).collect::<Result<_, Failure>>()?
            }
        };
        // Of others only what every kernel limits is known.
        let is_here = given.is_none() && settings.hosts.iter().all(|host| host.agent != Agent::Network);
        let seen = if is_here { testyard_agent::limits::observe() } else { HostLimits::UNKNOWN };
        let limits = HostLimits { only_netem: settings.network.emulator == Emulator::Netem, ..seen };
        Ok(Self { settings, hosts, links: configured.links, origin, limits })
    }

    /// What readers may know.
    pub(super) fn surroundings(&self) -> Surroundings {
        Surroundings {
            site: import::Site {
                sliver_types: self.settings.sliver_types.iter().map(|kind| kind.name.clone()).collect(),
                images: self.settings.image_names.clone(),
                hosts: self.hosts.iter().map(|host| host.name().to_string()).collect(),
            },
            urn: Urn::new(&self.settings.testbed.authority, "authority", "am").expect("the words of a URN"),
        }
    }

    /// Plans for hosts that are all well, and have nothing but what is `running` of the same slice.
    pub(super) fn plan(&self, topology: &Topology, running: Option<&Plan>) -> Result<Plan, PlanError> {
        let usage = Usage::default();
        let views: Vec<HostView<'_>> = self
            .hosts
            .iter()
            .map(|host| HostView { host, usage: &usage, standing: HostStanding::Ready, limits: &self.limits })
            .collect();
        let site = Site {
            authority: &self.settings.testbed.authority,
            sliver_types: &self.settings.sliver_types,
            nodes_per_slice: self.nodes_per_slice(),
            links: self.links,
        };
        let wanted = Wanted { topology, only: None, running };
        progress::during("planning", || replan(wanted, site, &views, &Existing::default()))
    }

    /// How many nodes a slice may have here; whoever makes up hosts is not bound by what is allowed on this machine.
    fn nodes_per_slice(&self) -> u32 {
        match self.origin {
            Origin::Given => u32::MAX,
            Origin::Configuration(_) | Origin::Defaults(..) => self.settings.limits.nodes_per_slice,
        }
    }

    /// What to do where there is not enough room.
    pub(super) fn more_room(&self) -> String {
        match &self.origin {
            Origin::Configuration(path) => format!("[host] of {} says how much there is", path.display()),
            Origin::Defaults(..) => {
                "host.capacity of a configuration says more; --hosts tries what helps".to_owned()
            }
            Origin::Given => "give more hosts with --hosts, or more room to these".to_owned(),
        }
    }
}

/// A host like the first of the configuration, but for its name and size.
fn made_up(given: &HostGiven, settings: &Settings) -> Result<Host, Failure> {
    let like = settings.hosts.first().ok_or_else(|| Failure::usage("the configuration has no host"))?;
    let ports = PortRange::new(*like.ports.start(), *like.ports.end()).map_err(Failure::usage)?;
    Host::new(given.name.clone(), given.capacity, ports, like.ipv4, like.ipv6, None).map_err(Failure::usage)
}

impl fmt::Display for Testbed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, host) in self.hosts.iter().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            write!(f, "{comma}{} with room for {}", host.name(), host.capacity())?;
        }
        match &self.origin {
            Origin::Configuration(path) => write!(f, ", as {} says", path.display()),
            Origin::Defaults(path, ErrorKind::NotFound) => {
                write!(f, ", by default: there is no {}", path.display())
            }
            Origin::Defaults(path, why) => {
                write!(f, ", by default: {} cannot be read ({why})", path.display())
            }
            Origin::Given => Ok(()),
        }
    }
}
