//! `members`: who takes part, and changes of that through the log.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use paxos_actors::log::DataIdentity;
use paxos_core::{Member, MemberRole, Membership, NodeId, Slot};
use paxos_net::client::{Client, ClientError};
use paxos_net::protocol::MembersReport;
use paxos_net::{Authority, ClusterFile, ClusterFileError};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::app::block_on;
use crate::exit::{Exit, Fault};
use crate::options::Common;
use crate::output::Output;

/// How often it is asked whether a change has settled.
const ASK_EVERY: Duration = Duration::from_millis(100);

const LIST_EXAMPLES: &str = "\
Examples:
  {app} members list
  {app} members list --cluster D/cluster.toml
  {app} members list -o json";

const ADD_EXAMPLES: &str = "\
Examples:
  {app} members add h4:7400 --identity admin
  {app} members add 127.0.0.1:7404 --cluster D/cluster.toml --identity D/admin
  {app} members add h4:7400 --role voter --identity admin";

const PROMOTE_EXAMPLES: &str = "\
Examples:
  {app} members promote 4 --identity admin
  {app} members promote 4 --cluster D/cluster.toml --identity D/admin
  {app} members promote 4 --identity admin --force";

const DEMOTE_EXAMPLES: &str = "\
Examples:
  {app} members demote 2 --identity admin
  {app} members demote 2 --cluster D/cluster.toml --identity D/admin
  {app} members demote 2 --identity admin -o json";

const REMOVE_EXAMPLES: &str = "\
Examples:
  {app} members remove 3 --identity admin
  {app} members remove 3 --cluster D/cluster.toml --identity D/admin
  {app} members remove 3 --identity admin --timeout 1m";

const REPLACE_EXAMPLES: &str = "\
Examples:
  {app} members replace 3 h4:7400 --identity admin
  {app} members replace 3 127.0.0.1:7404 --cluster D/cluster.toml --identity D/admin
  {app} members replace 3 h4:7400 --identity admin --timeout 1m";

/// The arguments of `members`.
#[derive(Args, Debug)]
pub struct Members {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show who takes part, and from which slot on
    #[command(after_help = LIST_EXAMPLES)]
    List(List),
    /// Take a new node in, and make its folder
    ///
    /// The node gets the next number, which was never used before. Its certificate and its
    /// formatted data directory are written beside the cluster file, where ca/ must be, and the
    /// cluster file names it. It is a learner at first, which costs the others nothing; start it,
    /// and promote it when it has caught up.
    #[command(after_help = ADD_EXAMPLES)]
    Add(Add),
    /// Make a learner a voter, once it has caught up
    #[command(after_help = PROMOTE_EXAMPLES)]
    Promote(Promote),
    /// Make a voter a learner
    #[command(after_help = DEMOTE_EXAMPLES)]
    Demote(Demote),
    /// Remove a node, be it the leader or one that is gone
    ///
    /// It is done when the members that stay hold everything that the node helped to decide: only
    /// then can its disk be wiped. The node itself says so and ends.
    #[command(after_help = REMOVE_EXAMPLES)]
    Remove(Remove),
    /// Replace a node by a new one in one step: remove and add
    #[command(after_help = REPLACE_EXAMPLES)]
    Replace(Replace),
}

#[derive(Args, Debug)]
struct List {
    #[command(flatten)]
    common: Common,
}

#[derive(Args, Debug)]
struct Add {
    /// Where the node can be reached
    #[arg(value_name = "HOST:PORT")]
    address: String,

    /// What it does for the others
    #[arg(long, value_enum, default_value_t = RoleName::Learner)]
    role: RoleName,

    #[command(flatten)]
    common: Common,
}

#[derive(Args, Debug)]
struct Promote {
    /// The number of the node
    #[arg(value_name = "N")]
    node: u64,

    /// Also if it has not caught up, or does not answer
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    common: Common,
}

#[derive(Args, Debug)]
struct Demote {
    /// The number of the node
    #[arg(value_name = "N")]
    node: u64,

    #[command(flatten)]
    common: Common,
}

#[derive(Args, Debug)]
struct Remove {
    /// The number of the node
    #[arg(value_name = "N")]
    node: u64,

    #[command(flatten)]
    common: Common,
}

#[derive(Args, Debug)]
struct Replace {
    /// The number of the node that goes
    #[arg(value_name = "N")]
    node: u64,

    /// Where the new one can be reached
    #[arg(value_name = "HOST:PORT")]
    address: String,

    #[command(flatten)]
    common: Common,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RoleName {
    /// Accepts, keeps the state, and may lead
    Voter,
    /// Accepts only
    Witness,
    /// Keeps the state and may lead: a front end, or a voter to be
    Learner,
    /// Keeps the state, and neither accepts nor leads
    ReadReplica,
}

impl From<RoleName> for MemberRole {
    fn from(name: RoleName) -> MemberRole {
        match name {
            RoleName::Voter => MemberRole::Voter,
            RoleName::Witness => MemberRole::Witness,
            RoleName::Learner | RoleName::ReadReplica => MemberRole::Learner,
        }
    }
}

/// What became of a change.
#[derive(Debug, Serialize)]
struct Changed {
    /// From this slot on the new membership governs.
    from: u64,
    /// Whether whoever was removed is needed no more.
    settled: bool,
    /// The node that was added.
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<u64>,
    /// Its folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    folder: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Listed {
    from: u64,
    in_force: bool,
    settled: bool,
    phase1: u64,
    phase2: u64,
    members: Vec<ListedMember>,
}

#[derive(Debug, Serialize)]
struct ListedMember {
    node: u64,
    role: MemberRole,
    addr: String,
    votes: u64,
}

impl Members {
    /// Asks, or has the membership changed and waits until that is in force.
    ///
    /// # Errors
    /// See [`ClientError`]; that the certificate is no admin's; and what is wrong with files.
    pub fn run(&self, output: &Output) -> anyhow::Result<Exit> {
        block_on(async {
            match &self.what {
                What::List(list) => list.run(output).await,
                What::Add(add) => add.run(output).await,
                What::Promote(promote) => promote.run(output).await,
                What::Demote(Demote { node, common }) => {
                    let changed = change(common, |known| {
                        Ok(known.membership.with_role(NodeId(*node), MemberRole::Learner)?)
                    });
                    say(output, &changed.await?, &format!("node {node} is a learner"))
                }
                What::Remove(remove) => remove.run(output).await,
                What::Replace(replace) => replace.run(output).await,
            }
        })
    }
}

impl List {
    async fn run(&self, output: &Output) -> anyhow::Result<Exit> {
        let client = self.common.client()?;
        let report = client.members().await;
        client.close().await;
        let listed = Listed::of(&report?);
        output.result(listed.table(), &listed)?;
        Ok(Exit::Done)
    }
}

impl Listed {
    fn of(report: &MembersReport) -> Self {
        let quorums = &report.membership.quorums;
        let member = |(node, member): (&NodeId, &Member)| ListedMember {
            node: node.0,
            role: member.role,
            addr: member.address.clone(),
            votes: quorums.weight([node]),
        };
        Listed {
            from: report.from.0,
            in_force: report.next >= report.from,
            settled: report.settled,
            phase1: quorums.phase1(),
            phase2: quorums.phase2(),
            members: report.membership.members.iter().map(member).collect(),
        }
    }

    fn table(&self) -> String {
        let state = match (self.in_force, self.settled) {
            (false, _) => "not in force yet",
            (true, false) => "in force; nodes that it leaves out are needed still",
            (true, true) => "in force",
        };
        let width = self.members.iter().map(|it| it.addr.len()).max().unwrap_or(0).max(7);
        let mut text = format!(
            "from slot {} on, {state}; votes needed: {} to elect, {} to decide\n",
            self.from, self.phase1, self.phase2
        );
        text.push_str(&format!("node  {:width$}  {:7}  votes", "address", "role"));
        for ListedMember { node, role, addr, votes } in &self.members {
            let role = role.to_string();
            text.push_str(&format!("\n{node:>4}  {addr:width$}  {role:7}  {votes:>5}"));
        }
        text
    }
}

impl Add {
    async fn run(&self, output: &Output) -> anyhow::Result<Exit> {
        let (role, address) = (MemberRole::from(self.role), self.address.clone());
        let leads = !matches!(self.role, RoleName::ReadReplica);
        let plan = |known: &MembersReport| Ok(known.membership.added(role, address)?);
        let changed = change_and_prepare(&self.common, (&self.address, leads), plan).await?;
        let node = changed.node.unwrap_or_default();
        let mut words = format!("node {node} is a {role}");
        words.push_str(&next_steps(&self.common, &changed));
        if role == MemberRole::Learner && leads {
            words.push_str(&format!("\nthen: members promote {node}"));
        }
        say(output, &changed, &words)
    }
}

impl Promote {
    async fn run(&self, output: &Output) -> anyhow::Result<Exit> {
        let node = NodeId(self.node);
        if !self.force {
            self.has_caught_up(node).await?;
        }
        let plan =
            |known: &MembersReport| Ok(known.membership.with_role(node, MemberRole::Voter)?);
        let changed = change(&self.common, plan).await?;
        say(output, &changed, &format!("node {} is a voter", self.node))
    }

    /// A voter that lags would cost the cluster a vote.
    async fn has_caught_up(&self, node: NodeId) -> anyhow::Result<()> {
        let client = self.common.client()?;
        let known = client.members().await;
        let report = client.status(node).await;
        client.close().await;
        let known = known?;
        let again = |words: String| {
            let hint = "try again when it has, or use --force";
            Err(Fault::new(Exit::TryAgain, format!("{words}: {hint}")).into())
        };
        // Of these something else is wrong than that they lag.
        let role = known.membership.members.get(&node).map(|member| member.role);
        if role != Some(MemberRole::Learner) {
            return Ok(());
        }
        match report {
            Ok(report) if report.applied.next().plus(known.membership.alpha) < known.next => {
                let behind = known.next.0 - report.applied.next().0;
                again(format!("node {} has not caught up: it is {behind} slots behind", node.0))
            }
            Ok(_) => Ok(()),
            Err(error) => {
                again(format!("node {} does not say whether it has caught up: {error}", node.0))
            }
        }
    }
}

impl Remove {
    async fn run(&self, output: &Output) -> anyhow::Result<Exit> {
        let plan = |known: &MembersReport| Ok(known.membership.without(NodeId(self.node))?);
        let changed = change(&self.common, plan).await?;
        forget(&self.common, self.node, output);
        gone(output, &changed, self.node, "")
    }
}

impl Replace {
    async fn run(&self, output: &Output) -> anyhow::Result<Exit> {
        let node = NodeId(self.node);
        let plan = |known: &MembersReport| {
            let left = known.membership.without(node)?;
            let role = known.membership.members.get(&node).map(|member| member.role);
            Ok(left.added(role.unwrap_or(MemberRole::Learner), self.address.clone())?)
        };
        let file = ClusterFile::load(&self.common.cluster_path())?;
        let leads = !file.never_lead.contains(&node);
        let changed = change_and_prepare(&self.common, (&self.address, leads), plan).await?;
        forget(&self.common, self.node, output);
        gone(output, &changed, self.node, &next_steps(&self.common, &changed))
    }
}

fn say(output: &Output, changed: &Changed, words: &str) -> anyhow::Result<Exit> {
    output.result(words, changed)?;
    Ok(Exit::Done)
}

/// Says that a node was removed, or that it is needed still.
fn gone(output: &Output, changed: &Changed, node: u64, next: &str) -> anyhow::Result<Exit> {
    if changed.settled {
        let takes = changed.node.map(|new| format!("; node {new} takes its place"));
        let takes = takes.unwrap_or_default();
        let words = format!("node {node} is removed, and its folder can be deleted{takes}{next}");
        return say(output, changed, &words);
    }
    output.result(format!("node {node} takes part until slot {}{next}", changed.from), changed)?;
    let words = format!(
        "the change is made, but the members that stay do not hold everything yet that node {node} \
         helped to decide: keep its disk until `members list` says no more that it is needed"
    );
    Err(Fault::new(Exit::TryAgain, words).into())
}

fn next_steps(common: &Common, changed: &Changed) -> String {
    let (Some(node), Some(folder)) = (changed.node, &changed.folder) else {
        return String::new();
    };
    let file = common.cluster_path();
    format!(
        "\nbring {} and {} to its host, and start it: serve --cluster {} --node {node}",
        folder.display(),
        file.display(),
        file.display()
    )
}

/// What a client needs no more; the cluster does not depend on it.
fn forget(common: &Common, node: u64, output: &Output) {
    if let Err(error) = ClusterFile::forget_node(&common.cluster_path(), NodeId(node)) {
        output.remark(format_args!("the cluster file still names node {node}: {error}"));
    }
}

/// Has the membership changed to what is planned from the newest, and waits until that has settled.
async fn change(
    common: &Common,
    plan: impl FnOnce(&MembersReport) -> anyhow::Result<Membership>,
) -> anyhow::Result<Changed> {
    let client = common.client()?;
    let changed = async {
        let known = client.members().await?;
        let next = plan(&known)?;
        keeps_enough(&known.membership, &next)?;
        let from = reconfigure(&client, &known, &next).await?;
        anyhow::Ok(settle(&client, from, common.timeout).await)
    };
    let changed = changed.await;
    client.close().await;
    changed
}

/// Refuses to go below as many replicas as it takes for witnesses to cut, and for a removal to be
/// done; who has fewer already may go on.
fn keeps_enough(known: &Membership, next: &Membership) -> anyhow::Result<()> {
    if let Some(needed) = next.replicas_needed().filter(|_| !next.can_be_held())
        && known.can_be_held()
    {
        let left = next.learners().count();
        let words = format!(
            "{left} members would keep the state, and {needed} must: with fewer, nobody could \
             forget what they hold. Add a member that keeps it first"
        );
        return Err(Fault::usage(words).into());
    }
    Ok(())
}

/// The same where the plan has a new node, whose folder is made first: what fails must fail before
/// the cluster counts on the node.
async fn change_and_prepare(
    common: &Common,
    (address, leads): (&str, bool),
    plan: impl FnOnce(&MembersReport) -> anyhow::Result<Membership>,
) -> anyhow::Result<Changed> {
    let path = common.cluster_path();
    let beside = path.parent().unwrap_or(Path::new("")).to_owned();
    let cluster = ClusterFile::load(&path)?.cluster;
    let authority = Authority::load(&beside.join("ca")).map_err(|error| {
        let needs = "a new node needs a certificate, which only ca/ beside the cluster file makes";
        Fault::new(Exit::Configuration, format!("{needs}: {error}"))
    })?;
    let client = common.client()?;
    let changed =
        async {
            let known = client.members().await?;
            let (next, node) = (plan(&known)?, known.membership.next_id);
            keeps_enough(&known.membership, &next)?;
            let folder = paxos_actors::node_folder(&beside, node);
            ClusterFile::name_node(&path, node, address, leads).map_err(of_address)?;
            let witness = next.members.get(&node).is_some_and(|member| !member.role.learns());
            let genesis = known.genesis.clone();
            let identity = DataIdentity { cluster, node, genesis, witness };
            let prepared = paxos_actors::prepare(&folder, &authority, &identity);
            let made = match prepared {
                Ok(()) => reconfigure(&client, &known, &next).await,
                Err(error) => {
                    ClusterFile::forget_node(&path, node)?;
                    return Err(error.into());
                }
            };
            match made {
            Ok(from) => {
                let changed = settle(&client, from, common.timeout).await;
                anyhow::Ok(Changed { node: Some(node.0), folder: Some(folder), ..changed })
            }
            Err(error @ ClientError::Doubtful(_)) => Err(anyhow::Error::new(error).context(format!(
                "node {} may have been added: look at `members list`; if it was not, delete {}",
                node.0,
                folder.display()
            ))),
            Err(error) => {
                ClusterFile::forget_node(&path, node)?;
                std::fs::remove_dir_all(&folder)?;
                Err(error.into())
            }
        }
        };
    let changed = changed.await;
    client.close().await;
    changed
}

/// Only the address can be what is wrong with a file that was just read.
fn of_address(error: ClusterFileError) -> anyhow::Error {
    match error {
        ClusterFileError::Wrong { what, .. } => Fault::usage(what).into(),
        error => error.into(),
    }
}

/// Has the change made. Of an attempt whose answer was lost, the membership tells whether it was.
async fn reconfigure(
    client: &Client,
    known: &MembersReport,
    next: &Membership,
) -> Result<Slot, ClientError> {
    let made = client.reconfigure(known.from, next.clone()).await;
    let Err(ClientError::Doubtful(_)) = &made else { return made };
    match client.members().await {
        Ok(now) if now.from > known.from && now.membership == *next => Ok(now.from),
        _ => made,
    }
}

/// Waits until the membership that governs from a slot has settled, or the time is over.
async fn settle(client: &Client, from: Slot, patience: Duration) -> Changed {
    let deadline = Instant::now() + patience;
    loop {
        let settled = client.members().await.is_ok_and(|now| now.from >= from && now.settled);
        if settled || Instant::now() >= deadline {
            return Changed { from: from.0, settled, node: None, folder: None };
        }
        sleep(ASK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(settled: bool) -> MembersReport {
        let voters = (1..=3).map(|id| (NodeId(id), format!("h{id}:7400")));
        let membership = Membership::of_voters(voters).unwrap();
        let genesis = membership.clone();
        MembersReport { genesis, from: Slot(7), membership, settled, next: Slot(9) }
    }

    #[test]
    fn the_json_form_is_the_one_documented() {
        let text = crate::output::json(&Listed::of(&report(true))).unwrap();
        let start = concat!(
            r#"{"v":1,"from":7,"in_force":true,"settled":true,"phase1":2,"phase2":2,"#,
            r#""members":[{"node":1,"role":"voter","addr":"h1:7400","votes":1},"#
        );
        assert!(text.starts_with(start), "{text}");
    }

    #[test]
    fn the_table_says_whether_somebody_is_needed_still() {
        let table = |settled| Listed::of(&report(settled)).table();
        assert!(table(false).starts_with("from slot 7 on, in force; nodes that it leaves out"));
        assert!(table(true).starts_with("from slot 7 on, in force; votes needed: 2 to elect"));
        assert!(table(true).ends_with("   3  h3:7400  voter        1"), "{}", table(true));
    }
}
