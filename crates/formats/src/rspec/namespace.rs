//! Namespaces and schema addresses.

/// RSpec v3 itself.
pub const RSPEC: &str = "http://www.geni.net/resources/rspec/3";
/// Where the schema of requests is.
pub const SCHEMA_REQUEST: &str = "http://www.geni.net/resources/rspec/3/request.xsd";
/// Where the schema of manifests is.
pub const SCHEMA_MANIFEST: &str = "http://www.geni.net/resources/rspec/3/manifest.xsd";
/// Where the schema of advertisements is.
pub const SCHEMA_AD: &str = "http://www.geni.net/resources/rspec/3/ad.xsd";
/// Operational states and actions, in advertisements.
pub const OPSTATE: &str = "http://www.geni.net/resources/rspec/ext/opstate/1";
/// Accounts and their keys, in manifests.
pub const USER: &str = "http://www.geni.net/resources/rspec/ext/user/1";
/// Emulab's extensions; of them `node_type` is written, `docker` and `routable_control_ip` are read.
pub const EMULAB: &str = "http://www.protogeni.net/resources/rspec/ext/emulab/1";
/// Emulab's delay nodes, which are read and folded into links.
pub const DELAY: &str = "http://www.protogeni.net/resources/rspec/ext/delay/1";
/// docker-am's extension: where the output of commands is.
pub const DOCKER_AM: &str = "http://www.fed4fire.eu/docker_am";
/// Testyard's own extension: ports, host keys, addresses, limits (`docs/reference/rspec.md`).
pub const TESTYARD: &str = "http://testyard.dev/rspec/ext/testyard/1";

/// The extensions that are understood, for GetVersion's lists.
pub const EXTENSIONS: &[&str] = &[OPSTATE, USER, EMULAB, DELAY, DOCKER_AM, TESTYARD];

pub(super) const XSI: &str = "http://www.w3.org/2001/XMLSchema-instance";
pub(super) const XML: &str = "http://www.w3.org/XML/1998/namespace";
