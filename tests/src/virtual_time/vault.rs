//! Certificates for every holder that a run may need, made once a process.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use paxos_core::{ClusterId, NodeId};
use paxos_net::certs::KeyKind;
use paxos_net::{Authority, Credentials, Identity};

/// The cluster of all runs.
pub const CLUSTER: ClusterId = ClusterId(0x5eed);

/// Nodes at most.
pub const NODES_MAX: u64 = 7;

/// Clients at most, the harness's own included.
pub const CLIENTS_MAX: u64 = 16;

struct Vault {
    nodes: BTreeMap<NodeId, Credentials>,
    clients: BTreeMap<u64, Credentials>,
    admin: Credentials,
}

/// An operator's.
pub fn of_admin() -> Credentials {
    vault().admin.clone()
}

/// A node's.
pub fn of_node(node: NodeId) -> Credentials {
    vault().nodes[&node].clone()
}

/// A client's.
pub fn of_client(client: u64) -> Credentials {
    vault().clients[&client].clone()
}

fn vault() -> &'static Vault {
    static VAULT: OnceLock<Vault> = OnceLock::new();
    VAULT.get_or_init(|| {
        // Keys whose signatures have one length: the sizes of datagrams are in the trace hash.
        let authority =
            Authority::create_with(CLUSTER, KeyKind::Ed25519).expect("the system has randomness");
        let issue = |identity: &Identity| {
            let leaf = authority.issue(identity).expect("the name is one that certificates take");
            Credentials::of_leaf(&leaf).expect("it was made a moment ago")
        };
        let client = |name: u64| {
            // All names have one length: so have the certificates.
            Identity::client(CLUSTER, &format!("client-{name:02}")).expect("a short plain name")
        };
        let admin = Identity::admin(CLUSTER, "admin").expect("a short plain name");
        Vault {
            admin: issue(&admin),
            nodes: (1..=NODES_MAX)
                .map(NodeId)
                .map(|node| (node, issue(&Identity::peer(CLUSTER, node))))
                .collect(),
            clients: (0..CLIENTS_MAX).map(|name| (name, issue(&client(name)))).collect(),
        }
    })
}
