//! A replicated key-value store: `init DIR A1,A2,A3`, `serve DIR N`, `put DIR K V`, `get DIR K`.
use std::{collections::BTreeMap, path::Path};

use paxos_actors::{Context, InitOptions, Node, NodeConfig, NodeId, StateMachine, init};
use paxos_net::{Client, ClientConfig, ClusterFile, Credentials, protocol::Consistency};
use serde::{Deserialize, Serialize};

#[derive(Default, Serialize, Deserialize)]
struct Store(BTreeMap<String, String>);

impl StateMachine for Store {
    type Command = (String, String);
    type Reply = Option<String>;
    type Query = String;
    type Answer = Option<String>;

    fn apply(&mut self, _: &mut Context<'_>, (key, value): (String, String)) -> Option<String> {
        self.0.insert(key, value)
    }

    fn query(&self, key: String) -> Option<String> {
        self.0.get(&key).cloned()
    }
}

fn client(folder: &Path) -> anyhow::Result<Client> {
    let file = ClusterFile::load(&folder.join("cluster.toml"))?;
    Ok(Client::new(ClientConfig::new(file, Credentials::load(&folder.join("client"))?))?)
}

async fn serve(folder: &Path, node: u64) -> anyhow::Result<()> {
    let config = NodeConfig::load(&folder.join("cluster.toml"), NodeId(node), None)?;
    let mut node = Node::<Store>::start(config).await?;
    println!("{}ready at {}", node.graph(), node.address());
    Err(node.failed().await.into())
}

#[actix_rt::main]
async fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["init", folder, addresses] => {
            let addresses = addresses.split(',').map(String::from).collect();
            init(&InitOptions::new(folder, addresses))?;
        }
        ["serve", folder, node] => serve(folder.as_ref(), node.parse()?).await?,
        ["put", folder, key, value] => {
            let put = (key.to_owned(), value.to_owned());
            println!("{:?}", client(folder.as_ref())?.execute_as::<Store>(&put).await?);
        }
        ["get", folder, key] => {
            let (_, value) = client(folder.as_ref())?
                .query_as::<Store>(&key.to_owned(), Consistency::Linearizable)
                .await?;
            println!("{}", value.unwrap_or_default());
        }
        _ => anyhow::bail!("init DIR A1,A2,A3 | serve DIR N | put DIR K V | get DIR K"),
    }
    Ok(())
}
