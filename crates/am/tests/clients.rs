//! Whole lives over TLS: with our own client, and with one that nobody here wrote.

mod support;

use support::federation::slice_urn;
use support::{Server, request};
use testyard_am::ServerLimits;
use testyard_am::client::{CallOptions, ClientError, UserKeys};
use testyard_am::code::GeniCode;
use testyard_trust::PassedCredential;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

#[tokio::test]
async fn our_own() {
    let server = Server::start(ServerLimits::default()).await;
    let ann = server.door.federation.user("ann");
    let client = server.client(Some(&ann));
    let version = client.get_version().await.unwrap();
    assert_eq!((version.api, version.urls["3"].as_str()), (3, "https://am.example.net:12369/"));
    assert_eq!((version.urn.as_deref(), version.allocate.as_str()), (Some(support::AM), "geni_many"));
    assert!(serde_json::to_value(&version).unwrap()["raw"]["geni_single_allocation"] == 0);

    let credentials = [PassedCredential::sfa(server.door.federation.slice_credential(&ann, "demo", 48))];
    let (none, urns) = (CallOptions::default(), [slice_urn("demo")]);
    for options in [&none, &CallOptions { compressed: true, available: true, ..none.clone() }] {
        let advertisement = client.list_resources(&credentials, options).await.unwrap();
        assert!(advertisement.contains("type=\"advertisement\""));
    }
    let error = client.status(&urns, &credentials, &none).await.unwrap_err();
    assert_eq!(error.code(), Some(GeniCode::SearchFailed));
    let allocated = client.allocate(&urns[0], &credentials, &request(&["a", "b"]), &none).await.unwrap();
    assert_eq!(allocated.slivers[1].client_id, "b");
    let users = vec![UserKeys { urn: ann.urn(), keys: vec![KEY.to_owned()] }];
    let options = CallOptions { users: Some(users), best_effort: true, ..none.clone() };
    let provisioned = client.provision(&urns, &credentials, &options).await.unwrap();
    assert!(provisioned.rspec.unwrap().contains("username=\"ann\""));
    let options = CallOptions { compressed: true, timeline: true, ..none.clone() };
    let described = client.describe(&urns, &credentials, &options).await.unwrap();
    assert!(described.rspec.unwrap().contains("type=\"manifest\""));
    assert_eq!(described.slice.as_deref(), Some(urns[0].as_str()));
    assert_eq!(described.slivers[0].timeline[0].what, "allocated");
    let one = [described.slivers[0].urn.clone()];
    let stopped = client.perform(&one, &credentials, "geni_stop", &none).await.unwrap();
    assert_eq!(stopped.slivers[0].operational, "geni_notready");
    let error = client.perform(&one, &credentials, "dance", &none).await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Refused { am_code: Some((kind, 13)), .. } if kind == "testyard"),
        "{error}"
    );
    let error = client.renew(&one, &credentials, "2090-01-01T00:00:00Z", &none).await.unwrap_err();
    assert_eq!(error.code(), Some(GeniCode::OutOfRange));
    let alap = CallOptions { extend_alap: true, ..none.clone() };
    assert!(client.renew(&one, &credentials, "2090-01-01T00:00:00Z", &alap).await.is_ok());
    assert_eq!(
        client.delete(&one, &credentials, &none).await.unwrap().slivers[0].allocation,
        "geni_unallocated"
    );
    assert_eq!(client.status(&urns, &credentials, &none).await.unwrap().slivers.len(), 1);
    assert!(client.shutdown(&urns[0], &credentials, &none).await.unwrap());
    let error = client.status(&urns, &credentials, &none).await.unwrap_err();
    assert_eq!(error.code(), Some(GeniCode::Forbidden));
}

/// Python's own XML-RPC, as omni and geni-lib use it.
const PYTHON: &str = r#"
import ssl, sys, xmlrpc.client
url, pem, slice_urn, credential, request = sys.argv[1:6]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
context.load_cert_chain(pem)
am = xmlrpc.client.ServerProxy(url, context=context, allow_none=True)
version = am.GetVersion()
assert version['geni_api'] == 3 and version['code']['geni_code'] == 0, version
value = version['value']
# The acceptance tests compare types.
assert type(value['geni_single_allocation']) is int and value['geni_single_allocation'] == 0
assert value['geni_api_versions'] == {'3': 'https://am.example.net:12369/'}
creds = [{'geni_type': 'geni_sfa', 'geni_version': 3, 'geni_value': xmlrpc.client.Binary(credential.encode())}]
rspec3 = {'geni_rspec_version': {'type': 'GENI', 'version': '3'}, 'geni_unknown': None}
def good(reply):
    assert set(reply) == {'code', 'value', 'output'} and reply['code']['geni_code'] == 0, reply
    assert reply['output'] == ''
    return reply['value']
assert '<available' in good(am.ListResources(creds, dict(rspec3, geni_available=True)))
nothing = am.ListResources([], rspec3)
assert nothing['code']['geni_code'] == 1 and nothing['value'] == '' and nothing['output'], nothing
allocated = good(am.Allocate(slice_urn, creds, request, {}))
assert [s['geni_allocation_status'] for s in allocated['geni_slivers']] == ['geni_allocated']
users = [{'urn': 'urn:publicid:IDN+fed.example.net+user+ann', 'keys': []}]
provisioned = good(am.Provision([slice_urn], creds, dict(rspec3, geni_users=users, geni_best_effort=0)))
urn = provisioned['geni_slivers'][0]['geni_sliver_urn']
status = good(am.Status([urn], creds, {'geni_best_effort': False}))
assert status['geni_slivers'][0]['geni_error'] == '' and status['geni_urn'] == slice_urn, status
assert isinstance(good(am.PerformOperationalAction([urn], creds, 'geni_start', {})), list)
error = am.PerformOperationalAction([urn], creds, 'random_action', {})
assert error['code']['geni_code'] == 13 and error['value'] == [], error
import datetime
soon = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0) + datetime.timedelta(minutes=5)
renewed = good(am.Renew([urn], creds, soon.isoformat(), {}))
assert renewed[0]['geni_expires'] == soon.strftime('%Y-%m-%dT%H:%M:%SZ'), renewed
assert 'manifest' in good(am.Describe(slice_urn, creds, rspec3))['geni_rspec']
assert good(am.Delete([slice_urn], creds, {}))[0]['geni_allocation_status'] == 'geni_unallocated'
assert good(am.Shutdown(slice_urn, creds, {})) is True
try:
    am.CreateSliver(slice_urn, creds, request, [], {})
    raise SystemExit('there is no CreateSliver')
except xmlrpc.client.Fault as fault:
    assert fault.faultCode == -32601, fault
print('good')
"#;

#[tokio::test]
async fn pythons() {
    let server = Server::start(ServerLimits::default()).await;
    let ann = server.door.federation.user("ann");
    let credential = server.door.federation.slice_credential(&ann, "demo", 48);
    let pem = server.folder.path().join("ann.pem");
    ann.identity.write_new(&pem).unwrap();
    let output = tokio::process::Command::new("python3")
        .args(["-c", PYTHON, &server.url()])
        .arg(&pem)
        .args([slice_urn("demo"), credential, request(&["a"])])
        .output()
        .await
        .expect("python3 is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && output.stdout == b"good\n", "{said}");
}
